/* multipart/form-data (RFC 7578) as it comes: a part's data is handed on in pieces, only its header is kept. */
#ifndef GUEST_MULTIPART_H
#define GUEST_MULTIPART_H

#include <event2/buffer.h>
#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"

struct multipart_handler {
    /* name is never NULL; file_name is NULL for a field that is no file. */
    int (*begin)(void *arg, const char *name, const char *file_name, struct runner_error *err);
    /* Must remove n bytes from data. */
    int (*data)(void *arg, struct evbuffer *data, size_t n, struct runner_error *err);
    int (*end)(void *arg, struct runner_error *err);
};

struct multipart {
    const struct multipart_handler *handler;
    void *arg;
    char *delimiter; /* CRLF "--" boundary */
    size_t delimiter_len;
    struct evbuffer *held;
    int stage;
    bool is_complete; /* the closing delimiter was seen */
};

/* INVALID when the Content-Type is not multipart/form-data with a boundary. */
int multipart_init(struct multipart *m, const char *content_type, const struct multipart_handler *handler, void *arg,
                   struct runner_error *err);
/* Takes everything in data. */
int multipart_push(struct multipart *m, struct evbuffer *data, struct runner_error *err);
void multipart_done(struct multipart *m);

#endif
