/* A vetted request head: who sends it, where it goes. */
#include "core/http/conn.h"

#include <string.h>

#include "core/http/forward.h"
#include "core/http/pump.h"
#include "core/http/reply.h"

/* What needs no token. It has no body: nobody may fill memory without one. */
static bool is_index(const struct head *head)
{
    return head_is_method(head, "GET") && head->body == BODY_NONE && head->target[0] == '/' &&
           (head->target_len == 1 || head->target[1] == '?');
}

static const char *request_auth(struct conn *c, const struct head *head)
{
    enum auth_header used = AUTH_NONE;
    const char *why = c->peer_why;

    if (!c->is_unix) {
        why = auth_check(head, c->front->config->token, &used);
        if (why == NULL)
            list_remove(&c->stranger);
        else if (is_index(head))
            why = NULL;
    }
    c->used = (uint8_t)used;
    return why;
}

/* Methods that may be sent twice (RFC 9110, 9.2.2). */
static bool is_idempotent(const struct head *head)
{
    return head_is_method(head, "GET") || head_is_method(head, "HEAD") || head_is_method(head, "OPTIONS") ||
           head_is_method(head, "PUT") || head_is_method(head, "DELETE") || head_is_method(head, "TRACE");
}

static void head_keep(struct conn *c, const char *raw, size_t len)
{
    if (c->head == raw)
        return;
    free(c->head);
    c->head = mem_dup_n(raw, len);
    c->head_len = len;
}

/* Sends the head, rebuilt, and what is there of the body. */
static bool request_forward(struct conn *c, const char *raw, struct upstream *up, const struct forward_request *how)
{
    struct front *front = c->front;
    ssize_t taken = c->side.in.len > 0 ? body_take(&c->req, bytes_at(&c->side.in), c->side.in.len) : 0;

    c->up = up;
    if (taken < 0)
        return taken == BODY_LARGE ? conn_refuse(c, 413, reply_code(413), "content too large: the body is too large")
                                   : conn_refuse(c, 400, reply_code(400), "bad request: broken chunked body");
    str_clear(&front->text);
    forward_add_request(&front->text, &front->head, how);
    if ((up->is_reused && c->is_idempotent && c->req.mode == BODY_NONE) || !c->req.is_done)
        head_keep(c, raw, front->head.len);
    up->conn = c;
    up->seen = 0;
    c->n_interim = 0;
    c->is_req_dead = c->is_answering = c->has_answer = c->is_up_reusable = c->is_req_shut = c->is_res_shut = false;
    c->state = CONN_ACTIVE;
    if (side_write_two(&up->side, front->text.ptr, front->text.len, c->side.in.len > 0 ? bytes_at(&c->side.in) : NULL,
                       (size_t)taken) < 0) {
        c->is_req_dead = true;
        bytes_done(&up->side.out);
    }
    bytes_skip(&c->side.in, (size_t)taken);
    return true;
}

static bool forward_to_guest(struct conn *c, const char *raw, struct upstream *up, const struct route_target *target)
{
    struct forward_request how = {.host = up->host,
                                  .prefix = up->prefix,
                                  .target = target->rest,
                                  .target_len = target->rest_len,
                                  .peer = c->peer,
                                  .used = (enum auth_header)c->used,
                                  .is_upgrade = c->wants_upgrade};

    return request_forward(c, raw, up, &how);
}

static bool forward_to_rest(struct conn *c, const char *raw, bool must_be_new)
{
    const struct head *head = &c->front->head;
    struct upstream *up = upstream_take_rest(c->front, must_be_new);
    struct forward_request how = {.prefix = "",
                                  .target = head->target,
                                  .target_len = head->target_len,
                                  .peer = c->peer,
                                  .used = AUTH_AUTHORIZATION};

    if (up == NULL)
        return conn_refuse(c, 503, reply_code(503), "service unavailable: out of file descriptors");
    return request_forward(c, raw, up, &how);
}

static bool request_dial(struct conn *c, const char *raw, const char *id, int port)
{
    c->dial = dial_start(c->front, c, id, port);
    if (c->dial == NULL)
        return conn_refuse(c, 503, reply_code(503), "service unavailable: too many operations at once");
    head_keep(c, raw, c->front->head.len);
    c->state = CONN_DIAL;
    return true;
}

static bool request_proxy(struct conn *c, const char *raw, const struct route_target *target)
{
    struct upstream *up = upstream_take(c->front, target->id, target->port);

    front_count(&c->front->count.proxied, 1);
    c->wants_upgrade = c->front->head.has_upgrade && !c->is_http10 && c->req.mode == BODY_NONE;
    if (up == NULL)
        return request_dial(c, raw, target->id, target->port);
    return forward_to_guest(c, raw, up, target);
}

static bool request_rest(struct conn *c, const char *raw)
{
    size_t max = c->front->config->body_max;

    c->wants_upgrade = false;
    c->req.max = max;
    if (c->req.mode == BODY_LENGTH && c->req.left > max) {
        auto_free char *message = mem_printf("content too large: a body has at most %zu bytes", max);
        return conn_refuse(c, 413, reply_code(413), message);
    }
    return forward_to_rest(c, raw, false);
}

bool request_start(struct conn *c, const char *raw)
{
    struct head *head = &c->front->head;
    struct route_target target;
    const char *why;

    body_init(&c->req, head->body, head->length, 0);
    c->is_http10 = head->minor < 1;
    c->keep_alive = !c->is_http10 && !head->has_close && !c->front->is_draining;
    c->is_head = head_is_method(head, "HEAD");
    c->is_idempotent = is_idempotent(head);
    why = request_auth(c, head);
    if (why != NULL) {
        front_count(&c->front->count.unauthorized, 1);
        return conn_refuse(c, 401, reply_code(401), why);
    }
    switch (route_proxy(head->target, head->target_len, &target)) {
    case ROUTE_BAD_ID:
        return conn_refuse(c, 400, reply_code(400), "bad request: the sandbox id is not valid");
    case ROUTE_BAD_PORT:
        return conn_refuse(c, 400, reply_code(400), "bad request: the port is not a number from 1 to 65535");
    case ROUTE_PROXY:
        return request_proxy(c, raw, &target);
    default:
        return request_rest(c, raw);
    }
}

/* A pooled connection had died: the same request once more, on a fresh one. */
bool request_replay(struct conn *c)
{
    struct front *front = c->front;
    bool is_rest = c->up->pair != NULL;
    struct route_target target;
    const char *why;

    upstream_drop(front, c->up);
    c->up = NULL;
    if (head_parse_request(&front->head, c->head, c->head_len, 0, &why) < 0)
        return conn_refuse(c, 502, NULL, NULL);
    if (is_rest)
        return forward_to_rest(c, c->head, true);
    (void)route_proxy(front->head.target, front->head.target_len, &target);
    return request_dial(c, c->head, target.id, target.port);
}

static bool dial_refuse(struct conn *c, const struct runner_error *err)
{
    int status = err->code == RUNNER_E_NOTFOUND ? 404 : err->code == RUNNER_E_INVALID ? 400 : 502;
    auto_free char *message = mem_printf("%s%s", reply_prefix(status), err->message);

    if (err->code == RUNNER_E_TIMEOUT)
        return conn_refuse(c, 504, NULL, NULL);
    return status == 502 ? conn_refuse(c, 502, NULL, NULL) : conn_refuse(c, status, reply_code(status), message);
}

void conn_dialed(struct conn *c, struct dial *dial)
{
    struct front *front = c->front;
    struct route_target target;
    struct upstream *up;
    const char *why;

    c->dial = NULL;
    timer_stop(&c->timer);
    if (head_parse_request(&front->head, c->head, c->head_len, 0, &why) < 0 ||
        route_proxy(front->head.target, front->head.target_len, &target) != ROUTE_PROXY) {
        conn_close(c, false);
        return;
    }
    up = dial->status == 0 ? dial_upstream(front, dial) : NULL;
    if (up != NULL)
        (void)forward_to_guest(c, c->head, up, &target);
    else
        (void)dial_refuse(c, &dial->err);
    conn_run(c);
}
