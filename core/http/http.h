/*
 * The HTTP server. Loop threads own every client connection: they vet and authenticate each request, proxy
 * /sandboxes/{id}/toolbox/... and /sandboxes/{id}/proxy/{port}/... to the guest themselves, and hand everything else to
 * h2o, which routes it to the backend. The backend is the rest of the runner, or a fake in tests.
 *
 * SIGPIPE is ignored from http_start() on: libh2o writes to its sockets with writev().
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/http/route.h"
#include "core/util/error.h"
#include "core/util/json.h"

struct http_config {
    const char *const *listen; /* "0.0.0.0:3005", "[::1]:0" (0: any free port), "unix:/run/x.sock"; copied where kept */
    size_t n_listen;
    const char *token;    /* what TCP clients must show; NULL or empty: every TCP request but GET / is refused */
    unsigned loops;       /* threads, 1 to 64 */
    size_t conns_max;     /* clients connected at once, all loops together; 0: as many as there are descriptors for */
    unsigned pool_max;    /* idle connections to guests a loop keeps */
    size_t body_max;      /* bytes of a REST body; a proxied body has no limit */
    int64_t head_ms;      /* a request head, from its first byte to its last */
    int64_t idle_ms;      /* a connection between two requests */
    int64_t dial_ms;      /* reaching a guest */
    int64_t response_ms;  /* a guest's answer to begin; 0: no limit, commands run for hours */
    int64_t body_ms;      /* a body without progress because this side's peer neither sends nor reads */
    int64_t linger_ms;    /* draining what a client still sends after its last answer */
    int64_t pool_idle_ms; /* an idle connection to a guest */
};

/* Fills in the defaults: no listeners, no token, 2 loops. */
void http_config_init(struct http_config *config);

/* A connection to a guest, as the backend made it. */
struct http_dialed {
    int fd;          /* connected stream socket; becomes the server's */
    char host[128];  /* value of the Host header: "10.0.0.5:2280" */
    char prefix[64]; /* put before each request's path: "" or "/proxy/8080" */
};

struct http_request {
    enum http_route route;
    const char *method, *path; /* as received, the path without its query */
    const char *query;         /* as received, without '?'; "" when there is none */
    const char *id;            /* the sandbox's, checked by text_is_id(); "" for a route without one */
    const struct json *body;   /* an object; NULL when the route takes no body, or none came and none is required */
};

struct http_backend {
    void *ctx;
    /* Has a worker thread call run(job), those of one sandbox one after the other: a guest that does not answer holds one
     * worker, not all. 0, or -1 when the queue is full (the client gets 503). Loop thread; never blocks. */
    int (*submit)(void *ctx, const char *id, void (*run)(void *job), void *job);
    /* Connects to a port of a guest. Worker thread; may block for timeout_ms. NOTFOUND: no such sandbox (404), INVALID:
     * not started (400), TIMEOUT: 504, anything else 502. */
    int (*dial)(void *ctx, const char *id, int port, int64_t timeout_ms, struct http_dialed *ret,
                struct runner_error *err);
    /* A REST request of a built route. Loop thread; must not block. Each request is answered exactly once, now or
     * later. */
    void (*handle)(void *ctx, struct http_request *request);
    /* The client of an unanswered request left; the answer is still owed. Loop thread. May be NULL. */
    void (*gone)(void *ctx, struct http_request *request);
};

struct http_server;

/* Binds every listener, starts the loops. The backend's struct is copied, its ctx outlives the server. */
int http_start(const struct http_config *config, const struct http_backend *backend, struct http_server **ret,
               struct runner_error *err);
/* Begins to take connections; until then they wait. */
void http_listen(struct http_server *server);
/* The TCP port of a listener, 0 for a unix socket. */
int http_port(const struct http_server *server, size_t listener);
/* Stops accepting, closes idle connections, lets running requests finish: true when all did within timeout_ms. What an
 * upgrade has made of requests (WebSockets) goes on, and is not waited for. Blocks. */
bool http_drain(struct http_server *server, int64_t timeout_ms);
/* Closes what is left, waits for dials under way and for every owed answer, frees. Takes NULL. */
void http_stop(struct http_server *server);
/* Closes the pooled connections to a sandbox that stopped, moved or paused; with active_too those in use as well. Any
 * thread; returns at once. */
void http_forget(struct http_server *server, const char *id, bool active_too);

struct http_stats {
    uint64_t connections;    /* accepted so far */
    uint64_t requests;       /* heads read */
    uint64_t unauthorized;   /* of these */
    uint64_t proxied;        /* of these */
    uint64_t dials;          /* connections to guests asked for */
    uint64_t open, upgraded; /* client connections now; of these tunnels */
};
/* Any thread; sums of relaxed counters. */
void http_stats(const struct http_server *server, struct http_stats *ret);

/* Answers, from any thread. The request is gone afterwards. The body is copied; content_type is a string constant. */
void http_reply(struct http_request *request, int status, const char *content_type, const char *body, size_t len);
/* Takes the text out of body and answers with it as JSON. */
void http_reply_json(struct http_request *request, int status, struct str *body);
/* Error body: message gets the class prefix of its status ("not found: ..."); code by the status. */
void http_reply_status(struct http_request *request, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Status, class and recoverable rewrite by the error's code and text. */
void http_reply_error(struct http_request *request, const struct runner_error *err);
/* 400 INVALID_REQUEST_BODY "invalid body request: <field>: <why>". */
void http_reply_field(struct http_request *request, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* True once the client left; a running operation may ask. Any thread. */
bool http_request_gone(const struct http_request *request);
/* The percent-decoded value of a query parameter; NULL when absent, too long, or with a NUL or bad escape. Caller
 * frees. */
char *http_query(const struct http_request *request, const char *name);

#endif
