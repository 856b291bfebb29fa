/* A client connection's states: reading a head, dialling, exchanging, tunnelling, lingering. Loop thread. */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include "core/http/auth.h"
#include "core/http/body.h"
#include "core/http/front.h"
#include "core/http/upstream.h"

enum conn_state { CONN_HEAD, CONN_DIAL, CONN_ACTIVE, CONN_TUNNEL, CONN_LINGER, CONN_CLOSED };

struct conn {
    struct side side; /* first */
    struct front *front;
    struct upstream *up;
    struct dial *dial;
    const char *peer_why; /* a unix socket's peer that may not send requests */
    struct list all, turn;
    struct list stranger; /* of TCP, and has not shown the token: makes way for others; in order of their coming */
    int64_t came_ms;
    struct timer timer;
    struct body req, res;
    char *head; /* the raw head, kept while dialling and while a replay is possible */
    size_t head_len;
    size_t seen;         /* bytes of side.in that are an incomplete head */
    uint8_t state, used; /* enum auth_header */
    uint8_t n_interim;   /* 1xx answers to this request */
    bool is_unix, is_http10, is_head, is_idempotent, wants_upgrade, keep_alive;
    bool is_head_known; /* front->head is this connection's request */
    bool is_req_dead;   /* the upstream takes no more of the request; its answer may still come */
    bool is_answering;  /* the response head is on its way */
    bool has_answer;    /* a byte of the answer came: no replay */
    bool is_up_reusable, is_req_shut, is_res_shut;
    char peer[46];
};

/* Takes an accepted socket. */
void conn_new(struct front *front, int fd, bool is_unix);
/* Goes on as far as it can. */
void conn_run(struct conn *c);
void conn_timeout(struct conn *c, enum timer_class class);
void conn_dialed(struct conn *c, struct dial *dial);
/* Closes it and what it used; with reset, so that a cut answer is seen as one. */
void conn_close(struct conn *c, bool reset);
/* Answers without an upstream: the error body, or for message == NULL an empty one. Returns true: the state changed. */
bool conn_refuse(struct conn *c, int status, const char *code, const char *message);
/* The client left: no more data will come and nobody reads. */
bool conn_is_gone(const struct conn *c);
void conn_wait(struct conn *c, enum timer_class class);
/* TCP keep-alive probes: a peer that vanished is noticed after some two minutes. */
void conn_keep_alive(int fd);

/* request.c: a vetted head in front->head, its raw bytes at raw. These return whether the state changed. */
bool request_start(struct conn *c, const char *raw);
bool request_replay(struct conn *c);

/* exchange.c */
bool exchange_run(struct conn *c);
bool tunnel_run(struct conn *c);

#endif
