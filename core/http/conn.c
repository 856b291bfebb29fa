#include "core/http/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/http/pump.h"
#include "core/http/reply.h"

#define ROUNDS_MAX 32 /* state changes in one go, before others get their turn */

void conn_keep_alive(int fd)
{
    int on = 1, idle_s = 60, interval_s = 15, probes = 4;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void peer_name(int fd, char ret[46])
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    const struct sockaddr_in6 *six = (const void *)&peer;

    ret[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return;
    if (peer.ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)&peer)->sin_addr, ret, 46);
    else if (peer.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        (void)inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], ret, 46);
    else if (peer.ss_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &six->sin6_addr, ret, 46);
}

void conn_new(struct front *front, int fd, bool is_unix)
{
    struct conn *c = mem_alloc(sizeof *c);
    int on = 1;

    if (side_init(&c->side, SIDE_CLIENT, fd, front->epoll) < 0) {
        close(fd);
        free(c);
        return;
    }
    c->front = front;
    c->is_unix = is_unix;
    c->timer.class = TIMER_NONE;
    if (is_unix) {
        c->peer_why = auth_check_peer(fd);
    } else {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn_keep_alive(fd);
        peer_name(fd, c->peer);
    }
    c->came_ms = front->now_ms;
    list_append(&front->conns, &c->all);
    if (!is_unix)
        list_append(&front->strangers, &c->stranger);
    front->n_conns++;
    front_count(&front->count.connections, 1);
    front_count(&front->count.open, 1);
    conn_run(c);
}

void conn_close(struct conn *c, bool reset)
{
    struct front *front = c->front;

    if (c->state == CONN_CLOSED)
        return;
    if (c->state == CONN_TUNNEL)
        front_count(&front->count.upgraded, -1);
    c->state = CONN_CLOSED;
    timer_stop(&c->timer);
    list_remove(&c->all);
    front->n_conns--;
    list_remove(&c->stranger);
    list_remove(&c->turn);
    if (c->dial != NULL)
        dial_give_up(c->dial);
    upstream_drop(front, c->up);
    c->up = NULL;
    side_close(&c->side, reset);
    free(c->head);
    c->head = NULL;
    front_count(&front->count.open, -1);
    front_bury(front, c);
    front_fd_freed(front);
}

bool conn_is_gone(const struct conn *c)
{
    int unread = 0;

    if (c->side.is_dead)
        return true;
    return c->side.hup && c->side.in.len == 0 && ioctl(c->side.fd, FIONREAD, &unread) == 0 && unread == 0;
}

void conn_wait(struct conn *c, enum timer_class class)
{
    if (class == TIMER_NONE)
        timer_stop(&c->timer);
    else
        timer_set(c->front, &c->timer, class, false);
}

/* The request being refused: as kept, or the one just parsed; NULL when there is none. */
static const struct head *refused_head(struct conn *c)
{
    struct head *head = &c->front->head;
    const char *why;

    if (c->head != NULL)
        return head_parse_request(head, c->head, c->head_len, 0, &why) == 0 ? head : NULL;
    return c->state == CONN_HEAD && c->is_head_known ? head : NULL;
}

static void refuse_text(struct conn *c, int status, const char *code, const char *message, struct str *ret_body,
                        struct str *ret_head)
{
    struct reply_error error = {.status = status, .code = code, .message = message, .path = "", .method = ""};
    const struct head *head = message != NULL ? refused_head(c) : NULL;
    const char *query;

    if (head != NULL) {
        query = memchr(head->target, '?', head->target_len);
        error.path = head->target;
        error.path_len = query != NULL ? (size_t)(query - head->target) : head->target_len;
        error.method = head->method;
        error.method_len = head->method_len;
    }
    if (message != NULL)
        reply_add_error(ret_body, &error, &status);
    reply_add_head(ret_head, status, message != NULL ? "application/json" : NULL, ret_body->len, !c->keep_alive);
}

bool conn_refuse(struct conn *c, int status, const char *code, const char *message)
{
    auto_str struct str body = STR_INIT, head = STR_INIT;
    ssize_t taken = c->side.in.len > 0 ? body_take(&c->req, bytes_at(&c->side.in), c->side.in.len) : 0;

    if (taken > 0)
        bytes_skip(&c->side.in, (size_t)taken);
    if (!c->req.is_done || c->front->is_draining)
        c->keep_alive = false;
    refuse_text(c, status, code, message, &body, &head);
    upstream_drop(c->front, c->up);
    c->up = NULL;
    timer_stop(&c->timer);
    free(c->head);
    c->head = NULL;
    if (side_write_two(&c->side, head.ptr, head.len, body.ptr, c->is_head ? 0 : body.len) < 0)
        conn_close(c, false);
    else
        c->state = c->keep_alive ? CONN_HEAD : CONN_LINGER;
    return true;
}

/* A head that is none: nothing behind it can be trusted. */
static bool refuse_unread(struct conn *c, int status, const char *why)
{
    auto_free char *message = mem_printf("%s%s", reply_prefix(status), why);

    bytes_done(&c->side.in);
    body_init(&c->req, BODY_NONE, 0, 0);
    c->req.is_done = c->is_head_known = c->is_head = c->keep_alive = false;
    return conn_refuse(c, status, reply_code(status), message);
}

/* Looks for a head in data, which is either side.in's bytes or fresh ones. */
static bool conn_parse(struct conn *c, const char *data, size_t len)
{
    struct head *head = &c->front->head;
    bool is_fresh = c->side.in.len == 0;
    const char *why;
    int result = head_parse_request(head, data, len, c->seen, &why);
    bool is_changed;

    if (result == HEAD_PARTIAL) {
        if (is_fresh)
            bytes_add(&c->side.in, data, len);
        c->seen = len;
        return true;
    }
    c->seen = 0;
    timer_stop(&c->timer);
    front_count(&c->front->count.requests, 1);
    if (result < 0)
        return refuse_unread(c, result == HEAD_LARGE ? 431 : 400, why);
    if (is_fresh)
        bytes_add(&c->side.in, data + head->len, len - head->len);
    else
        bytes_skip(&c->side.in, head->len);
    c->is_head_known = true;
    is_changed = request_start(c, data);
    c->is_head_known = false;
    if (c->side.in.len == 0)
        bytes_done(&c->side.in);
    return is_changed;
}

static bool read_run(struct conn *c)
{
    ssize_t n;

    if (side_flush(&c->side) < 0) {
        conn_close(c, false);
        return true;
    }
    if (c->side.out.len > 0) {
        conn_wait(c, TIMER_BODY);
        return false;
    }
    if (c->side.in.len > c->seen)
        return conn_parse(c, bytes_at(&c->side.in), c->side.in.len);
    n = c->side.rd ? side_recv(&c->side, c->front->scratch, PUMP_CHUNK) : SIDE_WAIT;
    if (n == SIDE_WAIT && !(c->front->is_draining && c->side.in.len == 0)) {
        conn_wait(c, c->side.in.len > 0 ? TIMER_HEAD : TIMER_IDLE);
        return false;
    }
    if (n <= 0) {
        conn_close(c, false);
        return true;
    }
    if (c->side.in.len == 0)
        return conn_parse(c, c->front->scratch, (size_t)n);
    bytes_add(&c->side.in, c->front->scratch, (size_t)n);
    return conn_parse(c, bytes_at(&c->side.in), c->side.in.len);
}

static bool dial_run(struct conn *c)
{
    if (conn_is_gone(c)) {
        conn_close(c, false);
        return true;
    }
    conn_wait(c, TIMER_DIAL);
    return false;
}

/* The last answer is on its way: a close() with unread input would turn it into a RST, so what still comes is drained.
 */
static bool linger_run(struct conn *c)
{
    ssize_t n = SIDE_ERROR;

    if (side_flush(&c->side) < 0)
        goto close;
    if (c->side.out.len > 0) {
        conn_wait(c, TIMER_BODY);
        return false;
    }
    if (!c->is_res_shut) {
        if (c->req.is_done && !c->side.rd)
            goto close;
        (void)shutdown(c->side.fd, SHUT_WR);
        c->is_res_shut = true;
        bytes_done(&c->side.in);
    }
    conn_wait(c, TIMER_LINGER);
    for (int i = 0; i < 16; i++) {
        n = c->side.rd ? side_recv(&c->side, c->front->scratch, PUMP_CHUNK) : SIDE_WAIT;
        if (n == SIDE_WAIT)
            return false;
        if (n <= 0)
            goto close;
    }
    front_turn(c->front, &c->turn);
    return false;
close:
    conn_close(c, false);
    return true;
}

void conn_run(struct conn *c)
{
    bool is_changed = true;

    for (int round = 0; is_changed; round++) {
        if (round == ROUNDS_MAX) {
            front_turn(c->front, &c->turn);
            return;
        }
        switch (c->state) {
        case CONN_HEAD:
            is_changed = read_run(c);
            break;
        case CONN_DIAL:
            is_changed = dial_run(c);
            break;
        case CONN_ACTIVE:
            is_changed = exchange_run(c);
            break;
        case CONN_TUNNEL:
            is_changed = tunnel_run(c);
            break;
        case CONN_LINGER:
            is_changed = linger_run(c);
            break;
        default:
            return;
        }
    }
}

void conn_timeout(struct conn *c, enum timer_class class)
{
    switch (class) {
    case TIMER_HEAD:
        (void)refuse_unread(c, 408, "the request head did not come in time");
        break;
    case TIMER_DIAL:
    case TIMER_RESPONSE:
        if (c->dial != NULL)
            dial_give_up(c->dial);
        c->dial = NULL;
        (void)conn_refuse(c, 504, NULL, NULL);
        break;
    default:
        conn_close(c, class == TIMER_BODY && c->is_answering);
        return;
    }
    conn_run(c);
}
