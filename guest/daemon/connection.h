/* Between server.c and reply.c: what a reply does to its connection. */
#ifndef GUEST_CONNECTION_H
#define GUEST_CONNECTION_H

#include "guest/daemon/server.h"

struct evbuffer *connection_output(const struct exchange *x);
void connection_touch(struct exchange *x);      /* something was put into the output */
void connection_reply_done(struct exchange *x); /* the exchange ends once the handler has returned */

#endif
