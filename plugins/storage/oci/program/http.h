/* HTTP exchanges, one after the other or several at once, over connections that are kept. With url.c all there is of libcurl.
 */
#ifndef OCI_HTTP_H
#define OCI_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

struct http;

struct http_settings {
    const char *ca_file; /* NULL: the system's */
    int64_t stall_ms;    /* a transfer that moves nothing for so long is broken off */
};

/* Takes a part of the body of an answer with status 2xx; false ends the exchange (see `is_refused`). */
typedef bool http_sink_fn(void *arg, int status, const char *data, size_t len);
/* Gives up to size bytes of the request's body from an offset on: how many, or -1. */
typedef ssize_t http_source_fn(void *arg, int64_t at, char *ret_data, size_t size);

struct exchange {
    /* What is asked; the strings are the caller's. */
    const char *method, *url;
    const char *accept, *content_type;
    const char *authorization; /* "Basic ...", "Bearer ...", or NULL */
    const char *content_range; /* what of the whole is sent: "0-1023" */
    int64_t from;              /* > 0: only the bytes from there on */
    int64_t limit_ms;          /* of the whole; 0: none but the stall's */
    size_t body_max;           /* without a sink: more are is_refused */
    http_sink_fn *sink;        /* NULL: the body is kept */
    http_source_fn *source;    /* NULL: no body is sent */
    int64_t source_bytes;
    void *arg;

    /* What came. */
    int status; /* 0: no answer; then failure says why */
    bool is_done, is_refused;
    bool is_transient;   /* the failure may pass: a connection that was refused, cut, or stood still */
    bool is_tls_failure; /* who is there does not speak TLS */
    bool is_cut;         /* the answer began, and did not end */
    char failure[300];
    struct str body;      /* also of a status that is not 2xx, at most 64 KiB of it */
    struct str challenge; /* values of WWW-Authenticate, a line each */
    char *location, *answer_type, *digest;
    char *range; /* Content-Range of a part, Range of an upload */
    int64_t retry_after_ms; /* -1: not said */

    /* Inside of http.c. */
    void *easy, *headers;
    int64_t sent;
    int64_t moved, moved_ms; /* bytes both ways, and when they last became more */
    int64_t stall_ms;
    bool is_stalled;
};

int http_new(const struct http_settings *settings, struct http **ret, struct runner_error *err);
void http_free(struct http *http); /* takes NULL; exchanges must have been reset before */

/* Begins; the exchange must stay where it is until it is done or reset. */
int http_start(struct http *http, struct exchange *x, struct runner_error *err);
/* Works on all that have begun, for at most ms; is_done is then set where they ended. -1: cancelled or late. */
int http_step(struct http *http, int64_t ms, struct runner_error *err);
/* Begins, and works until it is done. */
int http_run(struct http *http, struct exchange *x, struct runner_error *err);
/* Ends it, wherever it is, and forgets what came; what is asked stays. */
void http_reset(struct http *http, struct exchange *x);
/* Lets time pass, during which others go on. */
int http_sleep(struct http *http, int64_t ms, struct runner_error *err);

#endif
