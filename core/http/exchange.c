/* A request on its way to an upstream and the answer on its way back; and the tunnel that an upgrade turns them into.
 */
#include "core/http/conn.h"

#include <sys/socket.h>

#include "core/http/forward.h"
#include "core/http/pump.h"
#include "core/http/reply.h"

#define INTERIM_MAX 64 /* of one answer: a guest that sends nothing else must not keep the loop, nor fill its memory */

/* The upstream ended or broke before a whole head. */
static bool answer_lost(struct conn *c)
{
    if (c->head != NULL && !c->has_answer && c->up->is_reused && c->is_idempotent && c->req.mode == BODY_NONE)
        return request_replay(c);
    return conn_refuse(c, 502, NULL, NULL);
}

static bool exchange_close(struct conn *c, bool reset)
{
    conn_close(c, reset);
    return true;
}

/* Goes on with the request's body. True: the state changed. */
static bool request_send(struct conn *c, size_t *budget)
{
    if (c->is_req_dead)
        return false;
    switch (pump(&c->side, &c->up->side, &c->req, c->front->scratch, budget)) {
    case PUMP_TURN:
        front_turn(c->front, &c->turn);
        return false;
    case PUMP_DST_ERROR: /* not an error yet: an early answer (413) may lie in the socket */
        c->is_req_dead = true;
        bytes_done(&c->up->side.out);
        return false;
    case PUMP_SRC_EOF:
    case PUMP_SRC_ERROR:
        return exchange_close(c, false);
    case PUMP_BAD:
        return c->is_answering ? exchange_close(c, true)
                               : conn_refuse(c, 400, reply_code(400), "bad request: broken chunked body");
    case PUMP_LARGE:
        return c->is_answering ? exchange_close(c, true)
                               : conn_refuse(c, 413, reply_code(413), "content too large: the body is too large");
    default:
        return false;
    }
}

/* Drops the head and taken bytes of the body from what was read, keeps the rest. */
static void answer_consume(struct conn *c, const char *data, size_t len, size_t used)
{
    struct bytes *in = &c->up->side.in;

    c->up->seen = 0;
    if (in->len == 0) {
        bytes_add(in, data + used, len - used);
        return;
    }
    bytes_skip(in, used);
    if (in->len == 0)
        bytes_done(in);
}

static bool answer_upgrade(struct conn *c, const char *data, size_t len)
{
    struct front *front = c->front;

    if (!c->wants_upgrade || !front->head.has_upgrade)
        return conn_refuse(c, 502, NULL, NULL);
    str_clear(&front->text);
    forward_add_response(&front->text, &front->head, false, true);
    answer_consume(c, data, len, front->head.len);
    if (side_write(&c->side, front->text.ptr, front->text.len) < 0)
        return exchange_close(c, false);
    body_init(&c->req, BODY_EOF, 0, 0);
    body_init(&c->res, BODY_EOF, 0, 0);
    c->is_answering = true;
    c->state = CONN_TUNNEL;
    front_count(&front->count.upgraded, 1);
    return true;
}

/* 100 Continue, 102, 103: passed on, and the answer is still to come. */
static bool answer_interim(struct conn *c, const char *data, size_t len)
{
    struct front *front = c->front;
    int status = 0;

    if (c->n_interim++ == INTERIM_MAX)
        return conn_refuse(c, 502, NULL, NULL);
    if (!c->is_http10) {
        str_clear(&front->text);
        forward_add_response(&front->text, &front->head, false, false);
        status = side_write(&c->side, front->text.ptr, front->text.len);
    }
    answer_consume(c, data, len, front->head.len);
    return status < 0 ? exchange_close(c, false) : false;
}

static enum body_mode answer_mode(const struct conn *c, const struct head *head)
{
    return c->is_head || head->status == 204 || head->status == 304 ? BODY_NONE : head->body;
}

/* The final head: sent on together with what is there of the body. */
static bool answer_head(struct conn *c, const char *data, size_t len)
{
    struct front *front = c->front;
    struct head *head = &front->head;
    enum body_mode mode = answer_mode(c, head);
    ssize_t taken;

    body_init(&c->res, mode, head->length, 0);
    taken = body_take(&c->res, data + head->len, len - head->len);
    if (taken < 0 || (c->is_http10 && mode == BODY_CHUNKED))
        return conn_refuse(c, 502, NULL, NULL);
    if (mode == BODY_EOF || !c->req.is_done || front->is_draining)
        c->keep_alive = false;
    c->is_up_reusable = head->minor >= 1 && !head->has_close && mode != BODY_EOF;
    c->is_answering = true;
    str_clear(&front->text);
    forward_add_response(&front->text, head, !c->keep_alive, false);
    if (side_write_two(&c->side, front->text.ptr, front->text.len, data + head->len, (size_t)taken) < 0)
        return exchange_close(c, false);
    answer_consume(c, data, len, head->len + (size_t)taken);
    return false;
}

static bool answer_parsed(struct conn *c, const char *data, size_t len)
{
    int status = c->front->head.status;

    if (status == 101)
        return answer_upgrade(c, data, len);
    return status < 200 ? answer_interim(c, data, len) : answer_head(c, data, len);
}

/* Reads the answer's head. True: the state changed. */
static bool answer_read(struct conn *c)
{
    struct front *front = c->front;
    struct side *side = &c->up->side;
    const char *why, *data;
    size_t len;
    ssize_t n;
    int result;

    while (!c->is_answering) {
        if (side->in.len <= c->up->seen) {
            n = side->rd ? side_recv(side, front->scratch, PUMP_CHUNK) : SIDE_WAIT;
            if (n == SIDE_WAIT)
                return false;
            if (n <= 0)
                return answer_lost(c);
            c->has_answer = true;
            if (side->in.len > 0)
                bytes_add(&side->in, front->scratch, (size_t)n);
            data = side->in.len > 0 ? bytes_at(&side->in) : front->scratch;
            len = side->in.len > 0 ? side->in.len : (size_t)n;
        } else {
            data = bytes_at(&side->in);
            len = side->in.len;
        }
        result = head_parse_response(&front->head, data, len, c->up->seen, &why);
        if (result == HEAD_PARTIAL) {
            if (side->in.len == 0)
                bytes_add(&side->in, data, len);
            c->up->seen = len;
        } else if (result < 0) {
            return conn_refuse(c, 502, NULL, NULL);
        } else if (answer_parsed(c, data, len)) {
            return true;
        }
    }
    return false;
}

/* The answer is through. */
static bool exchange_finish(struct conn *c)
{
    struct upstream *up = c->up;

    c->up = NULL;
    if (c->is_up_reusable && c->req.is_done && !c->is_req_dead && up->side.in.len == 0 && up->side.out.len == 0 &&
        !up->side.hup)
        upstream_pool(c->front, up);
    else
        upstream_drop(c->front, up);
    free(c->head);
    c->head = NULL;
    timer_stop(&c->timer);
    c->state = c->keep_alive && c->req.is_done ? CONN_HEAD : CONN_LINGER;
    return true;
}

/* Goes on with the answer's body. True: the state changed. */
static bool answer_send(struct conn *c, size_t *budget)
{
    if (!c->is_answering)
        return false;
    switch (pump(&c->up->side, &c->side, &c->res, c->front->scratch, budget)) {
    case PUMP_DONE:
        return exchange_finish(c);
    case PUMP_TURN:
        front_turn(c->front, &c->turn);
        return false;
    case PUMP_WAIT:
        return false;
    case PUMP_DST_ERROR:
        return exchange_close(c, false);
    default: /* the answer is cut: a RST says so, a clean end would not */
        return exchange_close(c, true);
    }
}

/* Who is waited for, and how long: a peer that neither sends its request nor reads, or the guest. */
static void exchange_wait(struct conn *c)
{
    bool has_moved = c->side.has_moved || c->up->side.has_moved;
    bool is_stalled = c->side.out.len > 0 || (!c->is_req_dead && (c->up->side.out.len > 0 || !c->req.is_done));

    c->side.has_moved = c->up->side.has_moved = false;
    if (is_stalled)
        timer_set(c->front, &c->timer, TIMER_BODY, has_moved);
    else if (!c->is_answering && c->up->pair == NULL && c->front->config->response_ms > 0)
        timer_set(c->front, &c->timer, TIMER_RESPONSE, false);
    else
        timer_stop(&c->timer);
}

bool exchange_run(struct conn *c)
{
    size_t budget = PUMP_BUDGET;

    if (request_send(c, &budget) || answer_read(c) || answer_send(c, &budget))
        return true;
    if ((c->req.is_done || c->is_req_dead) && conn_is_gone(c))
        return exchange_close(c, false);
    exchange_wait(c);
    return false;
}

/* One direction of a tunnel. True: both ends were closed. */
static bool tunnel_way(struct conn *c, struct side *src, struct side *dst, struct body *body, bool *is_shut)
{
    size_t budget = PUMP_BUDGET;

    if (*is_shut)
        return false;
    switch (pump(src, dst, body, c->front->scratch, &budget)) {
    case PUMP_WAIT:
        return false;
    case PUMP_TURN:
        front_turn(c->front, &c->turn);
        return false;
    case PUMP_DONE:
        if (dst->out.len > 0)
            return false;
        (void)shutdown(dst->fd, SHUT_WR);
        *is_shut = true;
        return false;
    default:
        return exchange_close(c, true);
    }
}

bool tunnel_run(struct conn *c)
{
    if (tunnel_way(c, &c->side, &c->up->side, &c->req, &c->is_req_shut) ||
        tunnel_way(c, &c->up->side, &c->side, &c->res, &c->is_res_shut))
        return true;
    if (c->is_req_shut && c->is_res_shut)
        return exchange_close(c, false);
    /* A side whose end was passed on already is not read any more: its reset shows only here. */
    if ((c->is_req_shut && c->side.is_dead) || (c->is_res_shut && c->up->side.is_dead))
        return exchange_close(c, true);
    timer_stop(&c->timer);
    return false;
}
