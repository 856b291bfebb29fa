/*
 * A small HTTP/1.1 server on libevent's buffer events: bodies stream in and out, so that a file of any size passes
 * through in pieces. One thread. A connection carries one exchange at a time; pipelined requests wait in the
 * connection's input.
 */
#ifndef GUEST_SERVER_H
#define GUEST_SERVER_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "core/util/json.h"
#include "guest/daemon/body.h"

#define SERVER_JSON_MAX    (1024 * 1024 * 4) /* bytes of a body that is collected in memory */
#define SERVER_OUTPUT_HIGH (256 * 1024)      /* unsent bytes at which a producer should pause */

struct exchange;
struct server;

/* How the request's body reaches the handler. */
enum intake {
    INTAKE_COLLECT, /* kept in exchange.body; on_request is called when it is complete */
    INTAKE_STREAM   /* on_request is called at once, on_data as bytes come */
};

struct route {
    const char *method;  /* NULL: any */
    const char *pattern; /* "/a/{x}/b": {..} matches one segment; a last "*" matches the rest, from its '/' on */
    enum intake intake;
    void (*on_request)(struct exchange *x);
};

#define EXCHANGE_ARGS 3

/* One request and its reply. Lives from the request's head until the reply is sent or the client is gone. */
struct exchange {
    struct head head;
    char *args[EXCHANGE_ARGS]; /* decoded segments that {..} matched */
    const char *rest;          /* what "*" matched, as sent, query included; "" or starts with '/' or '?' */
    struct evbuffer *body;     /* COLLECT: the whole. STREAM: what has come and is not yet consumed */
    struct body intake;        /* where the body stands; is_done: nothing more will come */
    /* Set by the handler: */
    void *state;
    void (*on_data)(struct exchange *x);  /* STREAM: more in body, or is_done; must drain it, or pause() */
    void (*on_drain)(struct exchange *x); /* the output has fallen below SERVER_OUTPUT_HIGH */
    void (*on_done)(struct exchange *x);  /* exactly once: reply complete or client gone; frees state */
    /* The server's: */
    struct connection *connection;
    const struct route *route;
    bool is_replied, is_reply_chunked, is_reply_done, is_paused, is_tunnel, is_dispatched;
};

/* Listens; address as in inet_pton. The routes must outlive the server. NULL and err when it cannot. */
struct server *server_new(struct event_base *base, const char *address, int port, const struct route *routes,
                          size_t n_routes, struct runner_error *err);
int server_port(const struct server *s); /* the real one when 0 was asked for */
void server_free(struct server *s);      /* ends all exchanges */

struct event_base *exchange_base(const struct exchange *x);
/* Stops and resumes delivery of the body. */
void exchange_pause(struct exchange *x);
void exchange_resume(struct exchange *x);
/* After 101: everything the client sends from now on is delivered raw by on_data; replies are raw too. */
void exchange_tunnel(struct exchange *x);

/* The body as JSON: NULL after having answered 400. The caller frees. */
struct json *exchange_json(struct exchange *x);

/* ---- replies: one of reply_json, reply_error, reply_empty, reply_text, or open ... close ---- */

/* length < 0: unknown (chunked, or up to the end for HTTP/1.0). extra: further header lines with CRLF, or NULL. */
void reply_open(struct exchange *x, int status, const char *type, int64_t length, const char *extra);
void reply_data(struct exchange *x, const void *data, size_t len);
void reply_move(struct exchange *x, struct evbuffer *data);
/* Takes the descriptor. The file's bytes are sent as the client takes them. */
void reply_file(struct exchange *x, int fd, int64_t length);
void reply_close(struct exchange *x);
/* Breaks the connection: the client must see that the reply is cut. */
void reply_abort(struct exchange *x);
size_t reply_pending(const struct exchange *x); /* unsent bytes */

void reply_json(struct exchange *x, int status, const struct str *json);
void reply_empty(struct exchange *x, int status);
/* Daytona's error body; code may be NULL. */
void reply_error(struct exchange *x, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, status and code chosen from err->code. */
void reply_fail(struct exchange *x, const struct runner_error *err);

#endif
