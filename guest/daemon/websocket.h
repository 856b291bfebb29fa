/* The server's half of RFC 6455, as far as sending a stream needs it. */
#ifndef GUEST_WEBSOCKET_H
#define GUEST_WEBSOCKET_H

#include "guest/daemon/server.h"

enum websocket_opcode { WEBSOCKET_BINARY = 2, WEBSOCKET_CLOSE = 8, WEBSOCKET_PING = 9, WEBSOCKET_PONG = 10 };

/* Whether the request asks for an upgrade to a WebSocket. */
bool websocket_is_wanted(const struct exchange *x);
/* Answers 101 and makes a tunnel of the connection; false after having answered 400. */
bool websocket_accept(struct exchange *x);
void websocket_send(struct exchange *x, enum websocket_opcode opcode, const void *data, size_t len);
/* Drops what the client sends, but answers pings. True when it has closed, or broken the protocol. */
bool websocket_take(struct exchange *x);

/* Sec-WebSocket-Accept for a key; ret has 29 bytes. */
void websocket_accept_key(const char *key, char *ret);

#endif
