#include "core/http/front.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/http/conn.h"
#include "core/http/pump.h"
#include "core/http/rest.h"
#include "core/http/server.h"
#include "core/util/num.h"

#define EVENTS_MAX      256
#define ACCEPTS_MAX     64
#define ACCEPT_PAUSE_MS 1000
#define STRANGER_MS     1000 /* a client has so long to show its token before it may be closed to let others in */
#define STACK_BYTES     (256 * 1024)

void front_count(atomic_uint_fast64_t *counter, int by)
{
    atomic_fetch_add_explicit(counter, (uint_fast64_t)(int64_t)by, memory_order_relaxed);
}

void front_turn(struct front *front, struct list *turn)
{
    if (turn->next == NULL)
        list_append(&front->turns, turn);
}

void front_bury(struct front *front, void *p)
{
    if (front->n_graves == front->graves_cap) {
        front->graves_cap = front->graves_cap > 0 ? front->graves_cap * 2 : 64;
        front->graves = mem_grow(front->graves, front->graves_cap, sizeof *front->graves);
    }
    front->graves[front->n_graves++] = p;
}

void front_post(struct front *front, struct message *message)
{
    uint64_t one = 1;
    bool was_empty;

    message->next = NULL;
    pthread_mutex_lock(&front->mail_lock);
    was_empty = front->mail == NULL;
    *front->mail_end = message;
    front->mail_end = &message->next;
    /* Under the lock: behind it the loop may already have run this message and ended, and its eventfd be closed. */
    if (was_empty)
        (void)!write(front->mailbox.fd, &one, sizeof one);
    pthread_mutex_unlock(&front->mail_lock);
}

static void mail_read(struct front *front)
{
    struct message *message, *next;
    uint64_t count;

    (void)!read(front->mailbox.fd, &count, sizeof count);
    pthread_mutex_lock(&front->mail_lock);
    message = front->mail;
    front->mail = NULL;
    front->mail_end = &front->mail;
    pthread_mutex_unlock(&front->mail_lock);
    for (; message != NULL; message = next) {
        next = message->next;
        message->run(front, message);
    }
}

/* Level-triggered: a listener with a backlog is reported again and again, so it leaves the set when accepting pauses.
 * False: one could not come back into it, for want of memory. */
static bool listeners_watch(struct front *front, bool is_on)
{
    bool is_done = true;

    for (size_t i = 0; i < front->n_listeners; i++) {
        struct front_listener *l = &front->listeners[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &l->side};

        if (epoll_ctl(front->epoll, is_on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, l->listener->fd, &event) < 0)
            is_done &= !is_on || errno == EEXIST;
    }
    return is_done;
}

static void accept_pause(struct front *front)
{
    if (front->accept_at_ms == 0)
        (void)listeners_watch(front, false);
    front->accept_at_ms = front->now_ms + ACCEPT_PAUSE_MS;
}

static void accept_resume(struct front *front)
{
    if (front->accept_at_ms == 0 || front->is_draining)
        return;
    front->accept_at_ms = listeners_watch(front, true) ? 0 : front->now_ms + ACCEPT_PAUSE_MS;
}

void front_fd_freed(struct front *front)
{
    accept_resume(front);
}

/* Who holds no token must not keep out those who do. */
static bool stranger_close(struct front *front)
{
    struct conn *c = LIST_OWNER(struct conn, stranger, front->strangers.next);

    if (list_is_empty(&front->strangers) || front->now_ms - c->came_ms < STRANGER_MS)
        return false;
    conn_close(c, false);
    return true;
}

static void listener_accept(struct front *front, struct front_listener *l)
{
    for (int i = 0; i < ACCEPTS_MAX && !front->is_draining && front->accept_at_ms == 0; i++) {
        int fd;
        if (front->n_conns >= front->conns_max && !stranger_close(front)) {
            accept_pause(front);
            return;
        }
        fd = accept4(l->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            conn_new(front, fd, l->listener->is_unix);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            accept_pause(front);
        else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* Takes in what the events say, before anything acts on it: a pooled connection that just died is never chosen. */
static void event_note(struct front *front, struct side *side, uint32_t events)
{
    struct upstream *up = (struct upstream *)(void *)side;

    if (side->fd < 0 || side->kind == SIDE_LISTENER || side->kind == SIDE_MAILBOX)
        return;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        side->rd = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        side->wr = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        side->hup = true;
    if (events & (EPOLLHUP | EPOLLERR))
        side->is_dead = true;
    /* Bytes on an idle connection are as bad as its end: they would be taken for the next answer. */
    if (side->kind == SIDE_UPSTREAM && up->conn == NULL && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        upstream_drop(front, up);
}

static void event_act(struct front *front, struct side *side)
{
    if (side->fd < 0)
        return;
    switch (side->kind) {
    case SIDE_LISTENER:
        listener_accept(front, (struct front_listener *)(void *)side);
        break;
    case SIDE_MAILBOX:
        mail_read(front);
        break;
    case SIDE_CLIENT:
        conn_run((struct conn *)(void *)side);
        break;
    default:
        if (((struct upstream *)(void *)side)->conn != NULL)
            conn_run(((struct upstream *)(void *)side)->conn);
    }
}

void front_events(struct front *front)
{
    struct epoll_event events[EVENTS_MAX];
    int n;

    front->now_ms = num_now_ms();
    do {
        n = epoll_wait(front->epoll, events, EVENTS_MAX, 0);
        for (int i = 0; i < n; i++)
            event_note(front, events[i].data.ptr, events[i].events);
        for (int i = 0; i < n; i++)
            event_act(front, events[i].data.ptr);
    } while (n == EVENTS_MAX);
}

/* Those that used up their budget go on, each once. */
static void turns_run(struct front *front)
{
    struct list round;

    if (list_is_empty(&front->turns))
        return;
    round = front->turns;
    round.next->prev = round.prev->next = &round;
    list_init(&front->turns);
    while (!list_is_empty(&round)) {
        struct list *node = round.next;
        list_remove(node);
        conn_run(LIST_OWNER(struct conn, turn, node));
    }
}

static void timers_run(struct front *front)
{
    for (int class = 0; class < TIMER_N; class ++) {
        struct list *head = &front->timers[class];
        while (!list_is_empty(head)) {
            struct timer *timer = LIST_OWNER(struct timer, node, head->next);
            if (timer->deadline_ms > front->now_ms)
                break;
            timer_stop(timer);
            if (class == TIMER_POOL)
                upstream_drop(front, LIST_OWNER(struct upstream, timer, timer));
            else
                conn_timeout(LIST_OWNER(struct conn, timer, timer), (enum timer_class) class);
        }
    }
    if (front->accept_at_ms > 0 && front->accept_at_ms <= front->now_ms)
        accept_resume(front);
}

static int32_t front_wait_ms(const struct front *front)
{
    int64_t next = front->accept_at_ms > 0 && !front->is_draining ? front->accept_at_ms : INT64_MAX;

    if (!list_is_empty(&front->turns))
        return 0;
    for (int class = 0; class < TIMER_N; class ++)
        if (!list_is_empty(&front->timers[class])) {
            const struct timer *timer = LIST_OWNER(struct timer, node, front->timers[class].next);
            next = timer->deadline_ms < next ? timer->deadline_ms : next;
        }
    if (next == INT64_MAX)
        return -1;
    next -= num_now_ms();
    return next < 0 ? 0 : next > 60000 ? 60000 : (int32_t)next;
}

static void graves_empty(struct front *front)
{
    for (size_t i = 0; i < front->n_graves; i++)
        free(front->graves[i]);
    front->n_graves = 0;
}

void front_drain(struct front *front)
{
    struct list *node = front->conns.next, *next;

    (void)listeners_watch(front, false);
    front->is_draining = true;
    for (; node != &front->conns; node = next) {
        struct conn *c = LIST_OWNER(struct conn, all, node);
        next = node->next;
        if (c->state == CONN_HEAD && c->side.in.len == 0)
            front_turn(front, &c->turn); /* reads once more, then closes */
    }
}

void front_stop(struct front *front)
{
    front_drain(front);
    front->is_stopping = true;
    while (!list_is_empty(&front->conns))
        conn_close(LIST_OWNER(struct conn, all, front->conns.next), true);
    while (!list_is_empty(&front->upstreams))
        upstream_drop(front, LIST_OWNER(struct upstream, all, front->upstreams.next));
}

static bool front_is_finished(const struct front *front)
{
    return front->is_stopping && front->n_dials == 0 && front->n_requests == 0 && front->n_pairs == 0;
}

/* A tunnel is no request that has an end: nobody waits for it. */
static bool front_has_only_tunnels(const struct front *front)
{
    return front->n_conns == atomic_load_explicit(&front->count.upgraded, memory_order_relaxed);
}

static void *front_main(void *arg)
{
    struct front *front = arg;

    while (!front_is_finished(front)) {
        rest_run(front->rest, front_wait_ms(front));
        front->now_ms = num_now_ms();
        turns_run(front);
        timers_run(front);
        graves_empty(front);
        if (front->is_draining && !front->is_quiet && front_has_only_tunnels(front)) {
            front->is_quiet = true;
            server_note_quiet(front->server);
        }
    }
    return NULL;
}

/* A third of the descriptors that this loop may count on: a REST request needs three, a proxied one two. */
static size_t conns_max(unsigned loops)
{
    struct rlimit limit;
    size_t share;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    share = (size_t)limit.rlim_cur / loops / 3;
    return share < 16 ? 16 : share;
}

static void front_durations(struct front *front)
{
    const struct http_config *config = front->config;
    const int64_t durations[TIMER_N] = {
        [TIMER_HEAD] = config->head_ms,         [TIMER_IDLE] = config->idle_ms, [TIMER_DIAL] = config->dial_ms,
        [TIMER_RESPONSE] = config->response_ms, [TIMER_BODY] = config->body_ms, [TIMER_LINGER] = config->linger_ms,
        [TIMER_POOL] = config->pool_idle_ms,
    };

    memcpy(front->duration_ms, durations, sizeof durations);
}

static void front_listeners(struct front *front, const struct listener *listeners, size_t n)
{
    front->listeners = mem_array(n, sizeof *front->listeners);
    front->n_listeners = n;
    for (size_t i = 0; i < n; i++) {
        front->listeners[i].listener = &listeners[i];
        front->listeners[i].side.kind = SIDE_LISTENER;
        front->listeners[i].side.fd = listeners[i].fd;
    }
}

void front_listen(struct front *front)
{
    if (!listeners_watch(front, true))
        accept_pause(front);
}

int front_new(struct http_server *server, const struct http_config *config, const struct http_backend *backend,
              const struct listener *listeners, size_t n_listeners, struct front **ret, struct runner_error *err)
{
    struct front *front = mem_alloc(sizeof *front);
    int mailbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    front->server = server;
    front->config = config;
    front->backend = backend;
    front->epoll = epoll_create1(EPOLL_CLOEXEC);
    front->now_ms = num_now_ms();
    front->conns_max = conns_max(config->loops);
    list_init(&front->conns);
    list_init(&front->strangers);
    list_init(&front->turns);
    list_init(&front->upstreams);
    for (int i = 0; i < FRONT_BUCKETS; i++)
        list_init(&front->idle[i]);
    for (int i = 0; i < TIMER_N; i++)
        list_init(&front->timers[i]);
    front_durations(front);
    front->scratch = mem_alloc(PUMP_CHUNK);
    front->mail_end = &front->mail;
    pthread_mutex_init(&front->mail_lock, NULL);
    if (front->epoll < 0 || mailbox < 0 || side_init(&front->mailbox, SIDE_MAILBOX, mailbox, front->epoll) < 0) {
        (void)fail_errno(err, errno, "epoll set of a loop");
        front->mailbox.fd = mailbox;
        front_free(front, false);
        return -1;
    }
    front_listeners(front, listeners, n_listeners);
    *ret = front;
    return 0;
}

int front_start(struct front *front, struct runner_error *err)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int status;

    sigfillset(&all);
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    status = pthread_create(&front->thread, &attr, front_main, front);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return status == 0 ? 0 : fail_errno(err, status, "start a loop thread");
}

void front_free(struct front *front, bool has_thread)
{
    if (front == NULL)
        return;
    if (has_thread)
        pthread_join(front->thread, NULL);
    graves_empty(front);
    rest_free(front->rest);
    if (front->mailbox.fd >= 0)
        close(front->mailbox.fd);
    if (front->epoll >= 0)
        close(front->epoll);
    pthread_mutex_destroy(&front->mail_lock);
    str_done(&front->text);
    free(front->listeners);
    free(front->graves);
    free(front->scratch);
    free(front);
}
