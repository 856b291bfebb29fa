/* A question on its way to the servers above, and what becomes of their answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "plugins/network/bridge/dns/allow.h"
#include "plugins/network/bridge/dns/element.h"
#include "plugins/network/bridge/dns/server.h"

#define TRY_MS      1500
#define TRIES       3
#define KEPT_MIN_S  60 /* an address may be reached at least so long */
#define KEPT_MORE_S 5  /* than the guest believes that it is */

struct lookup {
    struct server *server;
    struct client client;
    struct question question;
    uint16_t id;
    int tries;
    int fd;                  /* for UDP, a new one each try: with a port that nobody guesses; -1: none */
    struct event *event;     /* of fd */
    struct bufferevent *tcp; /* when the answer is too long for UDP */
    struct event *timer;
};

/* ---- the end ---- */

static void close_try(struct lookup *l)
{
    if (l->event != NULL)
        event_free(l->event);
    if (l->tcp != NULL)
        bufferevent_free(l->tcp);
    if (l->fd >= 0)
        close(l->fd);
    l->event = NULL;
    l->tcp = NULL;
    l->fd = -1;
}

static void lookup_free(struct lookup *l)
{
    close_try(l);
    if (l->timer != NULL)
        event_free(l->timer);
    l->server->n_lookups--;
    free(l);
}

static uint32_t asker(const struct lookup *l)
{
    return ntohl(l->client.address.sin_addr.s_addr);
}

static void end(struct lookup *l, const uint8_t *data, size_t len)
{
    struct client client = l->client;

    lookup_free(l);
    server_reply(&client, data, len);
}

static void end_refused(struct lookup *l, int rcode)
{
    uint8_t out[512], head[12] = {0};
    size_t len;

    head[0] = (uint8_t)(l->question.id >> 8);
    head[1] = (uint8_t)l->question.id;
    head[2] = l->question.wants_recursion;
    len = message_refuse(head, sizeof head, &l->question, rcode, out, sizeof out);
    end(l, out, len);
}

void lookup_cancel(struct lookup *l)
{
    guests_end(l->client.listener->guests, asker(l));
    lookup_free(l);
}

/* ---- the answer ---- */

static bool may_reach(uint32_t address, void *ctx)
{
    const struct options *options = ctx;

    for (unsigned i = 0; i < options->n_never; i++)
        if ((ntohl(address) & options->never[i].mask) == options->never[i].address)
            return false;
    return true;
}

static void read_allow(const struct lookup *l, struct allow *ret)
{
    char name[INET_ADDRSTRLEN];

    allow_read(l->server->policies, inet_ntop(AF_INET, &l->client.address.sin_addr, name, sizeof name), ret);
}

/* At most a line a second of what goes wrong for every question. */
static void complain(const struct allow *allow)
{
    static time_t last;
    time_t now = time(NULL);

    if (now != last)
        fprintf(stderr, "runner-dns: set %s of table %s: %s\n", allow->set, allow->table, strerror(errno));
    last = now;
}

static void close_gate(const struct lookup *l, const struct allow *allow, const struct answer *answer, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)element_remove(l->server->nft, allow->table, allow->set, answer->addresses[i]);
}

/* The addresses may be reached before the guest knows them. What it may ask for may have changed meanwhile: then what was
 * added goes again, since the set may have been emptied before. */
static bool open_gate(const struct lookup *l, const struct allow *allow, const struct answer *answer)
{
    uint32_t kept_s = answer->ttl_s > KEPT_MIN_S ? answer->ttl_s : KEPT_MIN_S;
    struct allow now;

    for (size_t i = 0; i < answer->n; i++)
        if (element_add(l->server->nft, allow->table, allow->set, answer->addresses[i],
                        (kept_s + KEPT_MORE_S) * UINT64_C(1000)) < 0) {
            complain(allow);
            close_gate(l, allow, answer, i);
            return false;
        }
    read_allow(l, &now);
    if (allow_equal(allow, &now))
        return true;
    close_gate(l, allow, answer, answer->n);
    return false;
}

static void finish(struct lookup *l, const uint8_t *data, size_t len)
{
    struct answer answer;
    struct allow allow;

    read_allow(l, &allow);
    if (!allow_has(&allow, l->question.name)) {
        end_refused(l, RCODE_REFUSED);
        return;
    }
    if (message_read_answer(&l->question, data, len, allow.is_listed ? may_reach : NULL, (void *)l->server->options,
                            &answer) < 0) {
        end_refused(l, RCODE_SERVFAIL);
        return;
    }
    if (answer.n > 0 && !open_gate(l, &allow, &answer)) {
        end_refused(l, RCODE_SERVFAIL);
    } else {
        if (l->client.conn == NULL && answer.len > l->question.size)
            message_cut(&answer, &l->question);
        end(l, answer.data, answer.len);
    }
    answer_done(&answer);
}

/* ---- the way there ---- */

static void try_next(struct lookup *l);

static const struct upstream *upstream_of(const struct lookup *l)
{
    return &l->server->options->upstreams[(unsigned)l->tries % l->server->options->n_upstreams];
}

static void on_tcp_read(struct bufferevent *tcp, void *ctx)
{
    struct lookup *l = ctx;
    struct evbuffer *in = bufferevent_get_input(tcp);
    uint8_t head[2];
    size_t len;
    bool is_cut;

    if (evbuffer_copyout(in, head, sizeof head) < (ssize_t)sizeof head)
        return;
    len = (size_t)(head[0] << 8 | head[1]);
    if (evbuffer_get_length(in) < sizeof head + len)
        return;
    if (message_is_answer(&l->question, l->id, evbuffer_pullup(in, (ssize_t)(sizeof head + len)) + sizeof head, len,
                          &is_cut))
        finish(l, evbuffer_pullup(in, (ssize_t)(sizeof head + len)) + sizeof head, len);
    else
        try_next(l);
}

static void on_tcp_event(struct bufferevent *tcp, short what, void *ctx)
{
    (void)tcp;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        try_next(ctx);
}

static void ask_by_tcp(struct lookup *l)
{
    const struct upstream *upstream = upstream_of(l);
    uint8_t out[512];
    size_t len = message_write_query(&l->question, l->id, out + 2, sizeof out - 2);

    close_try(l);
    out[0] = (uint8_t)(len >> 8);
    out[1] = (uint8_t)len;
    l->tcp = bufferevent_socket_new(l->server->base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (l->tcp == NULL) {
        try_next(l);
        return;
    }
    bufferevent_setcb(l->tcp, on_tcp_read, NULL, on_tcp_event, l);
    bufferevent_setwatermark(l->tcp, EV_READ, 0, MESSAGE_MAX + 2);
    bufferevent_write(l->tcp, out, len + 2);
    bufferevent_enable(l->tcp, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(l->tcp, (const struct sockaddr *)&upstream->address, (int)upstream->len) < 0 &&
        l->tcp != NULL) /* else that was said by on_tcp_event() */
        try_next(l);
}

static void on_udp(evutil_socket_t fd, short what, void *ctx)
{
    struct lookup *l = ctx;
    uint8_t data[4096];
    ssize_t len = recv(fd, data, sizeof data, MSG_DONTWAIT);
    bool is_cut;

    (void)what;
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len < 0) { /* nobody there */
        try_next(l);
        return;
    }
    if (!message_is_answer(&l->question, l->id, data, (size_t)len, &is_cut)) /* somebody guesses */
        return;
    if (is_cut)
        ask_by_tcp(l);
    else
        finish(l, data, (size_t)len);
}

static bool ask(struct lookup *l)
{
    const struct upstream *upstream = upstream_of(l);
    const struct timeval limit = {.tv_sec = TRY_MS / 1000, .tv_usec = TRY_MS % 1000 * 1000};
    uint8_t out[512];
    size_t len;

    if (getrandom(&l->id, sizeof l->id, 0) != sizeof l->id)
        return false;
    len = message_write_query(&l->question, l->id, out, sizeof out);
    l->fd = socket(upstream->address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || connect(l->fd, (const struct sockaddr *)&upstream->address, upstream->len) < 0 ||
        send(l->fd, out, len, 0) != (ssize_t)len)
        return false;
    l->event = event_new(l->server->base, l->fd, EV_READ | EV_PERSIST, on_udp, l);
    return l->event != NULL && event_add(l->event, NULL) == 0 && event_add(l->timer, &limit) == 0;
}

/* The server that was asked did not answer, or not well. */
static void try_next(struct lookup *l)
{
    while (++l->tries < TRIES) {
        close_try(l);
        if (ask(l))
            return;
    }
    end_refused(l, RCODE_SERVFAIL);
}

static void on_time(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    try_next(ctx);
}

struct lookup *lookup_begin(const struct client *client, const struct question *q)
{
    struct server *server = client->listener->server;
    struct lookup *l = server->n_lookups < server->lookups_max ? calloc(1, sizeof *l) : NULL;

    if (l == NULL) {
        server_reply(client, NULL, 0);
        return NULL;
    }
    server->n_lookups++;
    l->server = server;
    l->client = *client;
    l->question = *q;
    l->fd = -1;
    l->timer = evtimer_new(server->base, on_time, l);
    for (; l->timer != NULL && server->options->n_upstreams > 0 && l->tries < TRIES; l->tries++) {
        close_try(l);
        if (ask(l))
            return l;
    }
    end_refused(l, RCODE_SERVFAIL);
    return NULL;
}
