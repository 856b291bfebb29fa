/* Taking a message's body out of the bytes of a connection: by length, chunked, or up to the end of the connection. */
#ifndef GUEST_BODY_H
#define GUEST_BODY_H

#include <event2/buffer.h>

#include "guest/daemon/head.h"

enum body_mode { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_EOF };

struct body {
    enum body_mode mode;
    int64_t left; /* LENGTH: bytes to come. CHUNKED: of this chunk */
    int stage;    /* CHUNKED: 0 size line, 1 data, 2 CRLF after data, 3 trailer */
    bool is_done;
};

/* The body that a request's head announces. */
void body_init_request(struct body *b, const struct head *h);
/* The body of a response to a request of that method. */
void body_init_response(struct body *b, const struct head *h, bool is_head_request);

/* Moves what is there of the body from in to out, without framing, at most max bytes. Sets is_done at the end; bytes
 * behind the body stay in `in`. INVALID when the framing is broken. */
int body_take(struct body *b, struct evbuffer *in, struct evbuffer *out, size_t max, struct runner_error *err);

#endif
