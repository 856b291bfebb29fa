/*
 * HTTP requests that wait for nothing: libcurl's multi interface, driven by one thread. All functions but client_wake
 * are that thread's alone. Redirects are not followed, so that the token goes to the configured server only.
 */
#ifndef JOBS_CLIENT_H
#define JOBS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"

struct client_config {      /* strings: the caller's, constant while the client lives */
    const char *url;        /* base, without a trailing '/' */
    const char *token;      /* sent as Bearer token; NULL: none. Never logged. */
    const char *ca_file;    /* NULL: the system's */
    const char *cert_file;  /* client certificate (PEM); NULL: none */
    const char *key_file;   /* its key; NULL: in cert_file */
    const char *user_agent; /* NULL: none */
};

struct client_reply {
    int status;             /* HTTP status; 0: there was no answer, problem says why */
    const char *problem;    /* one line, or "" */
    const char *body;       /* NUL-terminated; lives until done() returns */
    size_t len;             /* bytes of body */
    bool is_json;           /* its content type */
    int64_t retry_after_ms; /* -1: the server did not say */
};

struct client_request {
    const char *method;         /* "GET", "POST", "PUT"; copied, as all texts are */
    const char *url;            /* whole, of someone else: the token is not sent; or NULL */
    const char *const *headers; /* more of them, "key: value"; NULL-terminated, or NULL */
    const char *path;           /* behind the base URL, begins with '/' */
    const char *body;           /* JSON, or NULL */
    const char *traceparent;    /* W3C trace context, or NULL */
    int64_t timeout_ms;         /* of all of it */
    size_t reply_max;           /* bytes; a longer body is no answer */
    /* Gets the body of an answer that is 200 and JSON as it comes, in parts; the reply has none then. Or NULL. */
    void (*take)(void *ctx, const char *data, size_t len);
    void (*done)(void *ctx, const struct client_reply *reply); /* once, from client_step or client_free */
    void *ctx;
};

struct client;

/* -1: INVALID or IO, with what libcurl says. */
int client_new(const struct client_config *config, struct client **ret, struct runner_error *err);
/* What is under way ends with status 0. Takes NULL. */
void client_free(struct client *client);

void client_send(struct client *client, const struct client_request *request);
/* Waits until something happened, a wake, or until_us (monotonic), and hands over the replies that have come. */
void client_step(struct client *client, int64_t until_us);
/* Any thread: client_step returns. */
void client_wake(struct client *client);

#endif
