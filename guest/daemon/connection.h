/* Connections: what the server (server.c) and replies (reply.c) do with them. */
#ifndef GUEST_CONNECTION_H
#define GUEST_CONNECTION_H

#include <event2/listener.h>

#include "guest/daemon/server.h"

struct connection;

struct server {
    struct event_base *base;
    struct evconnlistener *listener; /* NULL: it is being freed */
    const struct route *routes;
    size_t n_routes, n_connections;
    struct connection *first;
};

/* Of a client that was accepted; it counts in s->n_connections, and ends by itself. */
void connection_new(struct server *s, evutil_socket_t fd);
void connection_free(struct connection *c);
/* A connection has ended: another may be accepted. */
void server_has_room(struct server *s);

struct evbuffer *connection_output(const struct exchange *x);
void connection_touch(struct exchange *x);      /* something was put into the output */
void connection_reply_done(struct exchange *x); /* the exchange ends once the handler has returned */

#endif
