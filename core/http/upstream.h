/* Connections to guests and to h2o: dialled on a worker, pooled while idle. Loop thread. */
#ifndef HTTP_UPSTREAM_H
#define HTTP_UPSTREAM_H

#include "core/http/front.h"

struct upstream {
    struct side side; /* first */
    struct list all, idle;
    struct timer timer;
    struct conn *conn;              /* NULL while idle */
    struct pair *pair;              /* the h2o connection at the other end; NULL: a guest */
    const char *id, *host, *prefix; /* in text */
    size_t seen;                    /* bytes of side.in that are an incomplete head */
    uint16_t port;
    bool is_reused; /* served a request before this one: may be stale */
    char text[];
};

/* An idle connection to that guest and port, or NULL. */
struct upstream *upstream_take(struct front *front, const char *id, int port);
/* One to h2o: idle or new. NULL: out of descriptors. */
struct upstream *upstream_take_rest(struct front *front, bool must_be_new);
/* Keeps it for the next request, or closes it when there are too many. */
void upstream_pool(struct front *front, struct upstream *up);
/* Closes; an answer still owed by the backend to its client is called off. Takes NULL. */
void upstream_drop(struct front *front, struct upstream *up);

struct dial {
    struct message message;
    struct front *front;
    struct conn *conn;       /* loop thread; NULL: the client left meanwhile */
    atomic_bool is_given_up; /* the same, for the worker that has not begun */
    int port;
    int status; /* dial's return value */
    char id[ROUTE_ID_MAX + 1];
    struct http_dialed dialed;
    struct runner_error err;
};

/* Has a worker dial; conn_dialed() gets the result, unless it is given up before. NULL: the queue is full. */
struct dial *dial_start(struct front *front, struct conn *conn, const char *id, int port);
void dial_give_up(struct dial *dial);
/* Makes the fresh connection an upstream; NULL when it cannot be watched. */
struct upstream *dial_upstream(struct front *front, struct dial *dial);

#endif
