#include "core/http/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/http/front.h"
#include "core/http/rest.h"
#include "core/http/upstream.h"

struct http_server {
    struct http_config config;
    struct http_backend backend;
    char *token;
    struct listener *listeners;
    size_t n_listeners;
    struct rest_config *rest;
    struct front **fronts;
    unsigned n_fronts, n_started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_quiet; /* under lock */
};

void http_config_init(struct http_config *config)
{
    *config = (struct http_config){
        .loops = 2,
        .pool_max = 100,
        .body_max = 1 << 20,
        .head_ms = 10000,
        .idle_ms = 75000,
        .dial_ms = 5000,
        .body_ms = 60000,
        .linger_ms = 2000,
        .pool_idle_ms = 30000,
    };
}

static int listeners_open(struct http_server *server, struct runner_error *err)
{
    const struct http_config *config = &server->config;

    server->listeners = mem_array(config->n_listen, sizeof *server->listeners);
    for (size_t i = 0; i < config->n_listen; i++) {
        if (listener_open(config->listen[i], &server->listeners[i], err) < 0)
            return -1;
        server->n_listeners++;
    }
    server->config.listen = NULL;
    return 0;
}

/* Loop i's share of the configured number; together exactly that many. */
static void limit_conns(const struct http_config *config, unsigned i, struct front *front)
{
    size_t share = config->conns_max / config->loops + (i < config->conns_max % config->loops ? 1 : 0);

    if (config->conns_max > 0 && share < front->conns_max)
        front->conns_max = share;
}

static int fronts_start(struct http_server *server, struct runner_error *err)
{
    server->fronts = mem_array(server->config.loops, sizeof *server->fronts);
    for (unsigned i = 0; i < server->config.loops; i++) {
        if (front_new(server, &server->config, &server->backend, server->listeners, server->n_listeners,
                      &server->fronts[i], err) < 0)
            return -1;
        server->n_fronts++;
        limit_conns(&server->config, i, server->fronts[i]);
        server->fronts[i]->rest = rest_new(server->fronts[i], server->rest);
    }
    for (; server->n_started < server->n_fronts; server->n_started++)
        if (front_start(server->fronts[server->n_started], err) < 0)
            return -1;
    return 0;
}

static void listen_run(struct front *front, struct message *message)
{
    free(message);
    front_listen(front);
}

static void drain_run(struct front *front, struct message *message)
{
    free(message);
    front_drain(front);
}

static void stop_run(struct front *front, struct message *message)
{
    free(message);
    front_stop(front);
}

static void server_tell(struct http_server *server, void (*run)(struct front *, struct message *))
{
    for (unsigned i = 0; i < server->n_started; i++) {
        struct message *message = mem_alloc(sizeof *message);
        message->run = run;
        front_post(server->fronts[i], message);
    }
}

int http_start(const struct http_config *config, const struct http_backend *backend, struct http_server **ret,
               struct runner_error *err)
{
    struct http_server *server;
    pthread_condattr_t attr;

    if (config->loops < 1 || config->loops > 64)
        return fail(err, RUNNER_E_INVALID, 0, "%u loops: 1 to 64 are possible", config->loops);
    signal(SIGPIPE, SIG_IGN);
    server = mem_alloc(sizeof *server);
    server->config = *config;
    server->backend = *backend;
    server->config.token = server->token = mem_dup(config->token);
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attr);
    pthread_condattr_destroy(&attr);
    server->rest = rest_config_new(config);
    if (listeners_open(server, err) < 0 || fronts_start(server, err) < 0) {
        http_stop(server);
        return -1;
    }
    *ret = server;
    return 0;
}

void http_listen(struct http_server *server)
{
    server_tell(server, listen_run);
}

int http_port(const struct http_server *server, size_t listener)
{
    return listener < server->n_listeners ? server->listeners[listener].port : 0;
}

void server_note_quiet(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_quiet++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

bool http_drain(struct http_server *server, int64_t timeout_ms)
{
    struct timespec until;
    bool is_quiet;
    int status = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    server_tell(server, drain_run);
    pthread_mutex_lock(&server->lock);
    while (server->n_quiet < server->n_started && status == 0)
        status = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    is_quiet = server->n_quiet == server->n_started;
    pthread_mutex_unlock(&server->lock);
    return is_quiet;
}

void http_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    server_tell(server, stop_run);
    for (unsigned i = 0; i < server->n_fronts; i++)
        front_free(server->fronts[i], i < server->n_started);
    for (size_t i = 0; i < server->n_listeners; i++)
        listener_close(&server->listeners[i]);
    rest_config_free(server->rest);
    free(server->fronts);
    free(server->listeners);
    if (server->token != NULL)
        explicit_bzero(server->token, strlen(server->token));
    free(server->token);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

struct forget {
    struct message message;
    bool active_too;
    char id[ROUTE_ID_MAX + 1];
};

static void forget_run(struct front *front, struct message *message)
{
    struct forget *forget = (struct forget *)(void *)message;
    struct list *node = front->upstreams.next, *next;

    for (; node != &front->upstreams; node = next) {
        struct upstream *up = LIST_OWNER(struct upstream, all, node);
        next = node->next;
        if (up->pair != NULL || strcmp(up->id, forget->id) != 0)
            continue;
        if (up->conn == NULL)
            upstream_drop(front, up);
        else if (forget->active_too)
            (void)shutdown(up->side.fd, SHUT_RDWR); /* its connection sees a guest that went away */
    }
    free(forget);
}

void http_forget(struct http_server *server, const char *id, bool active_too)
{
    if (strlen(id) > ROUTE_ID_MAX)
        return;
    for (unsigned i = 0; i < server->n_started; i++) {
        struct forget *forget;
        if (atomic_load(&server->fronts[i]->count.guests) == 0) /* waking its thread costs more than all else here */
            continue;
        forget = mem_alloc(sizeof *forget);
        forget->message.run = forget_run;
        forget->active_too = active_too;
        memcpy(forget->id, id, strlen(id) + 1);
        front_post(server->fronts[i], &forget->message);
    }
}

void http_stats(const struct http_server *server, struct http_stats *ret)
{
    *ret = (struct http_stats){0};
    for (unsigned i = 0; i < server->n_started; i++) {
        const struct front *front = server->fronts[i];
        ret->connections += atomic_load_explicit(&front->count.connections, memory_order_relaxed);
        ret->requests += atomic_load_explicit(&front->count.requests, memory_order_relaxed);
        ret->unauthorized += atomic_load_explicit(&front->count.unauthorized, memory_order_relaxed);
        ret->proxied += atomic_load_explicit(&front->count.proxied, memory_order_relaxed);
        ret->dials += atomic_load_explicit(&front->count.dials, memory_order_relaxed);
        ret->open += atomic_load_explicit(&front->count.open, memory_order_relaxed);
        ret->upgraded += atomic_load_explicit(&front->count.upgraded, memory_order_relaxed);
    }
}
