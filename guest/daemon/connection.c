/* A connection: one exchange after the other, driven by what comes in, what goes out, and time. */
#include "guest/daemon/connection.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "guest/daemon/router.h"

#define INPUT_HIGH (256 * 1024)
#define FEED_MAX   (64 * 1024)

enum { IDLE_SECONDS = 75, HEAD_SECONDS = 10, BODY_SECONDS = 60, WRITE_SECONDS = 120, LINGER_SECONDS = 5 };

enum state { STATE_HEAD, STATE_BUSY, STATE_FLUSH, STATE_LINGER };

struct connection {
    struct server *server;
    struct connection *previous, *next;
    struct bufferevent *bev;
    struct event *timer, *wake;
    enum state state;
    struct exchange *exchange; /* while BUSY */
    bool is_head_begun, is_dead, is_eof;
};

/* ---- life of a connection ---- */

static void exchange_free(struct exchange *x)
{
    if (x == NULL)
        return;
    if (x->on_done != NULL)
        x->on_done(x);
    for (size_t i = 0; i < EXCHANGE_ARGS; i++)
        free(x->args[i]);
    head_done(&x->head);
    evbuffer_free(x->body);
    free(x);
}

void connection_free(struct connection *c)
{
    struct server *s = c->server;

    exchange_free(c->exchange);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        s->first = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    s->n_connections--;
    event_free(c->timer);
    event_free(c->wake);
    bufferevent_free(c->bev);
    free(c);
    server_has_room(s);
}

static void timer_set(struct connection *c, int seconds)
{
    struct timeval tv = {seconds, 0};

    if (seconds > 0)
        (void)event_add(c->timer, &tv);
    else
        (void)event_del(c->timer);
}

/* Everything that changes a connection's state runs from the loop through here, never inside a handler's call. */
static void connection_wake(struct connection *c)
{
    event_active(c->wake, EV_TIMEOUT, 0);
}

struct evbuffer *connection_output(const struct exchange *x)
{
    return bufferevent_get_output(x->connection->bev);
}

void connection_touch(struct exchange *x)
{
    (void)x; /* a buffer event writes by itself as soon as its output holds something */
}

void connection_reply_done(struct exchange *x)
{
    connection_wake(x->connection);
}

void reply_abort(struct exchange *x)
{
    struct linger now = {1, 0};

    (void)setsockopt(bufferevent_getfd(x->connection->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    x->connection->is_dead = true;
    connection_wake(x->connection);
}

size_t reply_pending(const struct exchange *x)
{
    return evbuffer_get_length(connection_output(x));
}

struct event_base *exchange_base(const struct exchange *x)
{
    return x->connection->server->base;
}

void exchange_pause(struct exchange *x)
{
    x->is_paused = true;
}

void exchange_resume(struct exchange *x)
{
    if (x->is_paused) {
        x->is_paused = false;
        connection_wake(x->connection);
    }
}

void exchange_tunnel(struct exchange *x)
{
    x->is_tunnel = true;
    x->head.is_keep_alive = false;
    x->is_reply_chunked = false;
    x->intake = (struct body){.mode = BODY_EOF, .is_done = x->connection->is_eof};
    connection_wake(x->connection);
}

struct json *exchange_json(struct exchange *x)
{
    struct runner_error err = ERROR_INIT;
    struct json *body = NULL;
    size_t len = evbuffer_get_length(x->body);
    const char *text = (const char *)evbuffer_pullup(x->body, -1);

    if (json_parse(text == NULL ? "" : text, len, &body, &err) == 0 && body->type == JSON_OBJECT)
        return body;
    if (body != NULL)
        (void)fail(&err, RUNNER_E_INVALID, 0, "the body is %s, not an object", json_type_name(body->type));
    json_free(body);
    reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: %s", err.message);
    return NULL;
}

/* ---- an exchange ---- */

static void dispatch(struct exchange *x)
{
    x->is_dispatched = true;
    x->route->on_request(x);
}

static void continue_if_expected(struct exchange *x)
{
    if (!x->is_replied && !x->intake.is_done && head_has_word(&x->head, "Expect", "100-continue"))
        (void)evbuffer_add_printf(connection_output(x), "HTTP/1.1 100 Continue\r\n\r\n");
}

static struct exchange *exchange_new(struct connection *c)
{
    struct exchange *x = mem_alloc(sizeof *x);

    x->connection = c;
    x->body = evbuffer_new();
    x->rest = "";
    x->intake.is_done = true;
    x->head.method = x->head.path = x->head.query = "";
    x->head.minor = 1;
    c->exchange = x;
    c->state = STATE_BUSY;
    return x;
}

static void begin(struct connection *c, size_t head_len)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct exchange *x = exchange_new(c);
    struct runner_error err = ERROR_INIT;
    const char *text = (const char *)evbuffer_pullup(in, (ev_ssize_t)head_len);

    c->is_head_begun = false;
    timer_set(c, 0);
    if (head_parse_request(text, head_len, &x->head, &err) < 0) {
        reply_error(x, 400, "BAD_REQUEST", "bad request: %s", err.message);
        return;
    }
    (void)evbuffer_drain(in, head_len);
    body_init_request(&x->intake, &x->head);
    x->route = router_match(x, c->server->routes, c->server->n_routes);
    if (x->route == NULL)
        reply_error(x, 404, "NOT_FOUND", "not found: no such route");
    else if (x->route->intake == INTAKE_STREAM)
        dispatch(x);
    else if (x->intake.mode == BODY_LENGTH && x->intake.left > SERVER_JSON_MAX)
        reply_error(x, 413, "BAD_REQUEST", "bad request: the body is larger than %d bytes", SERVER_JSON_MAX);
    continue_if_expected(x);
}

static void bad_body(struct exchange *x, const struct runner_error *err)
{
    x->on_data = NULL;
    if (x->is_replied)
        reply_abort(x);
    else
        reply_error(x, 400, "BAD_REQUEST", "bad request: %s", err->message);
}

/* Hands on what has come of the body. */
static void feed(struct connection *c, struct exchange *x)
{
    struct runner_error err = ERROR_INIT;
    bool is_collect = x->route != NULL && x->route->intake == INTAKE_COLLECT && !x->is_tunnel;

    while (!x->intake.is_done && !x->is_paused && !x->is_reply_done && !c->is_dead) {
        size_t before = evbuffer_get_length(x->body);
        if (body_take(&x->intake, bufferevent_get_input(c->bev), x->body, FEED_MAX, &err) < 0) {
            bad_body(x, &err);
            return;
        }
        if (evbuffer_get_length(x->body) == before && !x->intake.is_done)
            break;
        if (is_collect && evbuffer_get_length(x->body) > SERVER_JSON_MAX) {
            reply_error(x, 413, "BAD_REQUEST", "bad request: the body is larger than %d bytes", SERVER_JSON_MAX);
            return;
        }
        if (!is_collect && x->on_data != NULL)
            x->on_data(x);
        else if (!is_collect)
            (void)evbuffer_drain(x->body, evbuffer_get_length(x->body));
    }
    if (is_collect && x->intake.is_done && !x->is_dispatched && !x->is_replied)
        dispatch(x);
}

static void linger(struct connection *c)
{
    c->state = STATE_LINGER;
    (void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    timer_set(c, LINGER_SECONDS);
}

static void finish(struct connection *c)
{
    struct exchange *x = c->exchange;
    bool is_reusable = x->head.is_keep_alive && x->intake.is_done && !x->is_tunnel;

    c->exchange = NULL;
    exchange_free(x);
    c->state = is_reusable ? STATE_HEAD : STATE_FLUSH;
    if (!is_reusable)
        timer_set(c, WRITE_SECONDS);
}

/* Whether a whole head is there (and begun), else the timer that watches for it runs. */
static bool await_head(struct connection *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    size_t len = evbuffer_get_length(in);

    if (end.pos >= 0 && end.pos + 4 <= HEAD_MAX) {
        begin(c, (size_t)end.pos + 4);
        return true;
    }
    if (len >= HEAD_MAX) {
        struct exchange *x = exchange_new(c);
        reply_error(x, 431, "BAD_REQUEST", "bad request: the header is larger than %d bytes", HEAD_MAX);
        return true;
    }
    if (len > 0 && !c->is_head_begun) {
        c->is_head_begun = true;
        timer_set(c, HEAD_SECONDS);
    } else if (len == 0) {
        timer_set(c, IDLE_SECONDS);
    }
    return false;
}

static void step(struct connection *c)
{
    while (!c->is_dead) {
        struct exchange *x = c->exchange;
        if (c->state == STATE_HEAD && !await_head(c)) {
            c->is_dead = c->is_eof && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0;
            break;
        }
        if (c->state == STATE_BUSY && (x = c->exchange) != NULL) {
            feed(c, x);
            if (!x->is_reply_done) {
                timer_set(c, x->intake.is_done || x->is_paused || x->is_tunnel ? 0 : BODY_SECONDS);
                break;
            }
            finish(c);
        }
        if (c->state == STATE_FLUSH && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
            linger(c);
        if (c->state == STATE_LINGER || c->state == STATE_FLUSH) {
            (void)evbuffer_drain(bufferevent_get_input(c->bev), evbuffer_get_length(bufferevent_get_input(c->bev)));
            c->is_dead = c->is_eof && c->state == STATE_LINGER;
            break;
        }
    }
    if (c->is_dead)
        connection_free(c);
}

/* ---- events ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    step(arg);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    step(arg);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    struct connection *c = arg;
    struct exchange *x = c->exchange;

    (void)bev;
    if (x != NULL && x->on_drain != NULL && !x->is_reply_done)
        x->on_drain(x);
    if (c->state != STATE_BUSY)
        step(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct connection *c = arg;
    struct exchange *x = c->exchange;

    (void)bev;
    c->is_eof = true;
    if ((what & BEV_EVENT_EOF) != 0 && x != NULL && x->is_tunnel && !x->is_reply_done) {
        x->is_paused = false;
        feed(c, x);
        x->intake.is_done = true;
        if (x->on_data != NULL)
            x->on_data(x);
    } else if ((what & BEV_EVENT_EOF) == 0 || (x != NULL && !x->is_reply_done)) {
        c->is_dead = true; /* broken, or the client left before its answer */
    }
    step(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    struct exchange *x = c->exchange;

    (void)fd;
    (void)what;
    if (c->state == STATE_HEAD && c->is_head_begun) {
        x = exchange_new(c);
        reply_error(x, 408, "REQUEST_TIMEOUT", "request timeout: the header took longer than %d s", HEAD_SECONDS);
    } else if (c->state == STATE_BUSY && !x->is_replied) {
        x->on_data = NULL;
        reply_error(x, 408, "REQUEST_TIMEOUT", "request timeout: no byte of the body for %d s", BODY_SECONDS);
    } else {
        c->is_dead = true;
    }
    step(c);
}

void connection_new(struct server *s, evutil_socket_t fd)
{
    static const struct timeval write_limit = {WRITE_SECONDS, 0};
    struct connection *c = mem_alloc(sizeof *c);
    int on = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->server = s;
    c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = event_new(s->base, -1, 0, on_timer, c);
    c->wake = event_new(s->base, -1, 0, on_wake, c);
    c->next = s->first;
    if (s->first != NULL)
        s->first->previous = c;
    s->first = c;
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, INPUT_HIGH);
    bufferevent_setwatermark(c->bev, EV_WRITE, SERVER_OUTPUT_HIGH / 2, 0);
    (void)bufferevent_set_timeouts(c->bev, NULL, &write_limit);
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    timer_set(c, IDLE_SECONDS);
    s->n_connections++;
}
