/* /proxy/{port}/...: the sandbox's own HTTP servers, streamed both ways, upgrades included. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "core/util/num.h"
#include "guest/daemon/routes.h"

#define UPSTREAM_HIGH (256 * 1024)

struct proxy {
    struct exchange *x;
    struct bufferevent *up;
    struct head head; /* of the answer */
    struct body body;
    struct evbuffer *taken;
    int port;
    bool tried_v6, is_connected, is_head_done, is_tunnel, is_over;
    struct str request; /* head of the request, until connected */
};

static void proxy_done(struct exchange *x)
{
    struct proxy *p = x->state;

    if (p->up != NULL)
        bufferevent_free(p->up);
    head_done(&p->head);
    evbuffer_free(p->taken);
    str_done(&p->request);
    free(p);
}

/* Nothing was answered yet: 502 with an empty body, as Daytona's daemon does. Otherwise the answer is cut, visibly. */
static void broken(struct proxy *p)
{
    if (p->is_over)
        return;
    p->is_over = true;
    p->x->on_data = NULL;
    if (p->x->is_replied)
        reply_abort(p->x);
    else
        reply_empty(p->x, 502);
}

static void finish(struct proxy *p)
{
    if (!p->is_over) {
        p->is_over = true;
        reply_close(p->x);
    }
}

/* ---- the request ---- */

static bool is_upgrade(const struct head *h)
{
    return head_get(h, "Upgrade") != NULL && head_has_word(h, "Connection", "upgrade");
}

static void build_request(struct proxy *p, const char *target)
{
    const struct head *h = &p->x->head;
    struct str *out = &p->request;

    str_addf(out, "%s %s%s HTTP/1.1\r\n", h->method, *target == '/' ? "" : "/", target);
    str_addf(out, "Host: localhost:%d\r\n", p->port);
    for (size_t i = 0; i < h->n_fields; i++) {
        const char *name = h->fields[i].name;
        if (!head_is_hop(h, name) && strcasecmp(name, "Host") != 0 && strcasecmp(name, "Expect") != 0)
            str_addf(out, "%s: %s\r\n", name, h->fields[i].value);
    }
    if (h->is_chunked)
        str_add(out, "Transfer-Encoding: chunked\r\n");
    if (is_upgrade(h))
        str_addf(out, "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n", head_get(h, "Upgrade"));
    else
        str_add(out, "Connection: close\r\n\r\n");
}

/* The client of a tunnel has said its last: so has it to the server, which may still answer. */
static void half_close(struct proxy *p)
{
    if (p->x->is_tunnel && p->x->intake.is_done && evbuffer_get_length(bufferevent_get_output(p->up)) == 0)
        (void)shutdown(bufferevent_getfd(p->up), SHUT_WR);
}

/* The client's body, as it comes; stops while the server in the sandbox does not read. */
static void on_data(struct exchange *x)
{
    struct proxy *p = x->state;
    struct evbuffer *out;
    size_t len = evbuffer_get_length(x->body);

    if (p->up == NULL || !p->is_connected) {
        exchange_pause(x);
        return;
    }
    out = bufferevent_get_output(p->up);
    if (x->head.is_chunked && !x->is_tunnel && len > 0)
        (void)evbuffer_add_printf(out, "%zx\r\n", len);
    (void)evbuffer_add_buffer(out, x->body);
    if (x->head.is_chunked && !x->is_tunnel && len > 0)
        (void)evbuffer_add(out, "\r\n", 2);
    if (x->head.is_chunked && !x->is_tunnel && x->intake.is_done)
        (void)evbuffer_add(out, "0\r\n\r\n", 5);
    if (evbuffer_get_length(out) >= UPSTREAM_HIGH)
        exchange_pause(x);
    half_close(p);
}

/* ---- the answer ---- */

static void begin_answer(struct proxy *p)
{
    auto_str struct str extra = STR_INIT;
    const struct head *h = &p->head;
    bool is_switch = h->status == 101;

    for (size_t i = 0; i < h->n_fields; i++) {
        const char *name = h->fields[i].name;
        if (!head_is_hop(h, name) && strcasecmp(name, "Content-Length") != 0)
            str_addf(&extra, "%s: %s\r\n", name, h->fields[i].value);
    }
    if (is_switch)
        str_addf(&extra, "Connection: Upgrade\r\nUpgrade: %s\r\n",
                 head_get(h, "Upgrade") == NULL ? "" : head_get(h, "Upgrade"));
    reply_open(p->x, h->status, NULL, h->has_length ? h->length : -1, str_text(&extra));
    if (!is_switch)
        return;
    p->is_tunnel = true;
    p->body = (struct body){.mode = BODY_EOF};
    exchange_tunnel(p->x);
}

/* False when it is not complete, or broken (then the exchange is over). Interim answers are dropped. */
static bool take_head(struct proxy *p)
{
    struct evbuffer *in = bufferevent_get_input(p->up);
    struct runner_error err = ERROR_INIT;
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    size_t len = (size_t)end.pos + 4;
    bool is_good;

    if (end.pos < 0 && evbuffer_get_length(in) < HEAD_MAX)
        return false;
    is_good = end.pos >= 0 && len <= HEAD_MAX &&
              head_parse_response((const char *)evbuffer_pullup(in, (ev_ssize_t)len), len, &p->head, &err) == 0;
    if (!is_good || (p->head.status == 101 && !is_upgrade(&p->x->head))) {
        broken(p);
        return false;
    }
    (void)evbuffer_drain(in, len);
    if (p->head.status < 200 && p->head.status != 101) {
        head_done(&p->head);
        return take_head(p);
    }
    body_init_response(&p->body, &p->head, strcmp(p->x->head.method, "HEAD") == 0);
    p->is_head_done = true;
    begin_answer(p);
    return true;
}

static void pump(struct proxy *p)
{
    struct runner_error err = ERROR_INIT;

    if (p->is_over || (!p->is_head_done && !take_head(p)))
        return;
    if (reply_pending(p->x) >= SERVER_OUTPUT_HIGH && !p->body.is_done)
        return; /* on_drain goes on; the high-water mark of the input stops the server in the sandbox */
    if (body_take(&p->body, bufferevent_get_input(p->up), p->taken, SERVER_OUTPUT_HIGH, &err) < 0) {
        broken(p);
        return;
    }
    reply_move(p->x, p->taken);
    if (p->body.is_done)
        finish(p);
}

static void on_drain(struct exchange *x)
{
    struct proxy *p = x->state;

    if (p->is_connected && p->is_head_done)
        pump(p);
}

static void on_up_read(struct bufferevent *up, void *arg)
{
    (void)up;
    pump(arg);
}

static void on_up_written(struct bufferevent *up, void *arg)
{
    struct proxy *p = arg;

    (void)up;
    if (p->is_over)
        return;
    half_close(p);
    exchange_resume(p->x);
}

/* ---- the connection ---- */

static void connect_to(struct proxy *p);

static void on_connected(struct proxy *p)
{
    p->is_connected = true;
    (void)bufferevent_write(p->up, p->request.ptr, p->request.len);
    (void)bufferevent_enable(p->up, EV_READ | EV_WRITE);
    str_done(&p->request);
    p->request = (struct str)STR_INIT;
    if (evbuffer_get_length(p->x->body) > 0 || p->x->intake.is_done)
        on_data(p->x);
    exchange_resume(p->x);
}

/* The end of the server's connection is the end of an answer without length, else it cuts it. What it sent before is
 * taken whatever waits in the output: it is at most one input buffer. */
static void on_closed(struct proxy *p, bool is_clean)
{
    struct runner_error err = ERROR_INIT;

    if (!p->is_head_done)
        (void)take_head(p);
    if (!p->is_head_done || p->is_over) {
        broken(p);
        return;
    }
    (void)body_take(&p->body, bufferevent_get_input(p->up), p->taken, SIZE_MAX, &err);
    reply_move(p->x, p->taken);
    if (p->body.is_done || (is_clean && p->body.mode == BODY_EOF))
        finish(p);
    else
        broken(p);
}

static void on_up_event(struct bufferevent *up, short what, void *arg)
{
    struct proxy *p = arg;

    (void)up;
    if (p->is_over)
        return;
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        on_connected(p);
    } else if (!p->is_connected && !p->tried_v6) {
        p->tried_v6 = true;
        connect_to(p);
    } else if (!p->is_connected) {
        broken(p);
    } else if ((what & BEV_EVENT_WRITING) != 0 && !p->is_tunnel) {
        p->x->on_data = NULL; /* it does not want the rest of the body; its answer may be on the way */
        exchange_resume(p->x);
    } else {
        on_closed(p, (what & BEV_EVENT_EOF) != 0);
    }
}

static void connect_to(struct proxy *p)
{
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)p->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)p->port), .sin6_addr = in6addr_loopback};
    struct sockaddr *to = p->tried_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;

    if (p->up != NULL)
        bufferevent_free(p->up);
    p->up = bufferevent_socket_new(exchange_base(p->x), -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(p->up, on_up_read, on_up_written, on_up_event, p);
    bufferevent_setwatermark(p->up, EV_READ, 0, UPSTREAM_HIGH);
    bufferevent_setwatermark(p->up, EV_WRITE, UPSTREAM_HIGH / 2, 0);
    if (bufferevent_socket_connect(p->up, to, p->tried_v6 ? sizeof v6 : sizeof v4) < 0)
        broken(p);
}

void proxy_any(struct exchange *x)
{
    struct proxy *p;
    int64_t port;

    if (!num_int(x->args[0], 1, 65535, &port)) {
        reply_error(x, 400, "BAD_REQUEST", "bad request: '%s' is no port", x->args[0]);
        return;
    }
    p = mem_alloc(sizeof *p);
    p->x = x;
    p->port = (int)port;
    p->taken = evbuffer_new();
    x->state = p;
    x->on_done = proxy_done;
    x->on_data = on_data;
    x->on_drain = on_drain;
    build_request(p, x->rest);
    connect_to(p);
}
