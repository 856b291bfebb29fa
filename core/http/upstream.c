#include "core/http/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/http/conn.h"
#include "core/http/rest.h"

#define SEND_BUFFER (1 << 20) /* of a unix socket: the default 208 KiB makes for many partial sends */

static struct list *bucket_of(struct front *front, const char *id, int port)
{
    uint32_t hash = 2166136261u ^ (uint32_t)port;

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return &front->idle[hash % FRONT_BUCKETS];
}

/* Buffers and keep-alive; what a kind of socket does not know is skipped. */
static void socket_tune(int fd)
{
    int family = 0, on = 1, size = SEND_BUFFER;
    socklen_t len = sizeof family;

    (void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 && family == AF_UNIX) {
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    conn_keep_alive(fd);
}

static struct upstream *upstream_new(struct front *front, int fd, const char *id, int port, const char *host,
                                     const char *prefix)
{
    size_t id_len = strlen(id) + 1, host_len = strlen(host) + 1, prefix_len = strlen(prefix) + 1;
    struct upstream *up = mem_alloc(sizeof *up + id_len + host_len + prefix_len);

    socket_tune(fd);
    if (side_init(&up->side, SIDE_UPSTREAM, fd, front->epoll) < 0) {
        free(up);
        return NULL;
    }
    up->id = memcpy(up->text, id, id_len);
    up->host = memcpy(up->text + id_len, host, host_len);
    up->prefix = memcpy(up->text + id_len + host_len, prefix, prefix_len);
    up->port = (uint16_t)port;
    up->timer.class = TIMER_NONE;
    list_append(&front->upstreams, &up->all);
    return up;
}

static void upstream_unpool(struct front *front, struct upstream *up)
{
    if (up->idle.next == NULL)
        return;
    list_remove(&up->idle);
    timer_stop(&up->timer);
    front->n_idle--;
}

struct upstream *upstream_take(struct front *front, const char *id, int port)
{
    struct list *bucket = bucket_of(front, id, port);

    for (struct list *node = bucket->next; node != bucket; node = node->next) {
        struct upstream *up = LIST_OWNER(struct upstream, idle, node);
        if (up->port != port || strcmp(up->id, id) != 0)
            continue;
        upstream_unpool(front, up);
        up->is_reused = true;
        return up;
    }
    return NULL;
}

struct upstream *upstream_take_rest(struct front *front, bool must_be_new)
{
    struct upstream *up;
    struct pair *pair;
    int fd;

    while (!must_be_new && (up = upstream_take(front, "", 0)) != NULL) {
        if (rest_pair_is_open(up->pair))
            return up;
        upstream_drop(front, up);
    }
    if (rest_pair_new(front, &pair, &fd) < 0)
        return NULL;
    up = upstream_new(front, fd, "", 0, "", "");
    if (up == NULL) {
        close(fd);
        rest_pair_drop(pair);
        return NULL;
    }
    up->pair = pair;
    return up;
}

void upstream_pool(struct front *front, struct upstream *up)
{
    if (front->n_idle >= front->config->pool_max || front->is_stopping) {
        upstream_drop(front, up);
        return;
    }
    up->conn = NULL;
    up->seen = 0;
    list_prepend(bucket_of(front, up->id, up->port), &up->idle);
    timer_set(front, &up->timer, TIMER_POOL, true);
    front->n_idle++;
}

void upstream_drop(struct front *front, struct upstream *up)
{
    if (up == NULL)
        return;
    if (up->pair == NULL)
        front_count(&front->count.guests, -1);
    upstream_unpool(front, up);
    list_remove(&up->all);
    side_close(&up->side, false);
    if (up->pair != NULL)
        rest_pair_drop(up->pair);
    up->pair = NULL;
    up->conn = NULL;
    front_bury(front, up);
    front_fd_freed(front);
}

static void dial_done(struct front *front, struct message *message)
{
    struct dial *dial = (struct dial *)(void *)message;

    front->n_dials--;
    if (dial->conn != NULL)
        conn_dialed(dial->conn, dial);
    front_count(&front->count.guests, -1);
    if (dial->dialed.fd >= 0)
        close(dial->dialed.fd);
    free(dial);
}

/* Worker thread. */
static void dial_run(void *job)
{
    struct dial *dial = job;
    const struct http_backend *backend = dial->front->backend;

    if (atomic_load(&dial->is_given_up))
        dial->status = fail(&dial->err, RUNNER_E_CANCELLED, 0, "the client left");
    else
        dial->status =
            backend->dial(backend->ctx, dial->id, dial->port, dial->front->config->dial_ms, &dial->dialed, &dial->err);
    front_post(dial->front, &dial->message);
}

struct dial *dial_start(struct front *front, struct conn *conn, const char *id, int port)
{
    struct dial *dial = mem_alloc(sizeof *dial);

    *dial = (struct dial){.message.run = dial_done, .front = front, .conn = conn, .port = port, .err = ERROR_INIT};
    memcpy(dial->id, id, strlen(id) + 1);
    dial->dialed.fd = -1;
    front_count(&front->count.guests, 1);
    if (front->backend->submit(front->backend->ctx, dial->id, dial_run, dial) < 0) {
        front_count(&front->count.guests, -1);
        free(dial);
        return NULL;
    }
    front->n_dials++;
    front_count(&front->count.dials, 1);
    return dial;
}

void dial_give_up(struct dial *dial)
{
    dial->conn = NULL;
    atomic_store(&dial->is_given_up, true);
}

struct upstream *dial_upstream(struct front *front, struct dial *dial)
{
    struct http_dialed *dialed = &dial->dialed;
    struct upstream *up = upstream_new(front, dialed->fd, dial->id, dial->port, dialed->host, dialed->prefix);

    if (up == NULL)
        return NULL;
    dialed->fd = -1;
    front_count(&front->count.guests, 1);
    return up;
}
