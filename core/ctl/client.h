/* HTTP to the runner, over its unix socket or TCP. The one file pair that knows libcurl. One thread. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define CLIENT_REPLY_MAX (16 << 20) /* bytes of a reply that is kept in memory */

struct client;

/* Exactly one of socket (a path) and url (http://host:port) is given. token may be NULL; it is sent as Bearer and never
 * shown. INVALID when one of them cannot be. The strings are copied. */
int client_new(const char *socket, const char *url, const char *token, struct client **ret, struct runner_error *err);
void client_free(struct client *c);
/* Where it connects to, for messages. */
const char *client_address(const struct client *c);

/* A file sent as the part "file" of a multipart/form-data body. */
struct client_upload {
    int fd;
    int64_t size_bytes; /* -1: unknown, until the end of fd */
    const char *name;
};

struct client_request {
    const char *method, *path; /* path with its query, encoded */
    const char *json;          /* body, or NULL */
    const struct client_upload *upload;
    int (*sink)(void *ctx, const char *data, size_t len, struct runner_error *err); /* takes the body of a 2xx reply */
    void (*tick)(void *ctx, int64_t done_bytes, int64_t total_bytes); /* while it lasts; at least ten times a second */
    void *ctx;
};

struct client_reply {
    long status;
    struct str body; /* without sink, or of an error */
};
void client_reply_done(struct client_reply *r);
#define auto_reply CLEANUP(client_reply_done)

/*
 * Sends one request and waits for its reply, for as long as the runner keeps the connection. 0: there is a reply,
 * whatever its status. UNREACHABLE: no connection. CANCELLED: a signal came. IO: the connection broke, the reply is no
 * HTTP or is too large; what the sink refused. ret may be filled in part on failure and is released by the caller in
 * any case.
 */
int client_run(struct client *c, const struct client_request *request, struct client_reply *ret,
               struct runner_error *err);

#endif
