/*
 * A loop thread of the server: its epoll set (nested in an h2o loop), connections, upstreams, deadlines. Everything
 * here belongs to that thread, except where a member says otherwise.
 */
#ifndef HTTP_FRONT_H
#define HTTP_FRONT_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/http/head.h"
#include "core/http/http.h"
#include "core/http/list.h"
#include "core/http/listen.h"
#include "core/http/side.h"
#include "core/util/str.h"

struct conn;
struct upstream;
struct front;

/* Something that another thread wants done here: embedded in what it is about. */
struct message {
    struct message *next;
    void (*run)(struct front *front, struct message *message);
};

/* A class has one duration, so its list is in the order of the deadlines. */
enum timer_class { TIMER_HEAD, TIMER_IDLE, TIMER_DIAL, TIMER_RESPONSE, TIMER_BODY, TIMER_LINGER, TIMER_POOL, TIMER_N };
#define TIMER_NONE TIMER_N

struct timer {
    struct list node;
    int64_t deadline_ms;
    uint8_t class; /* TIMER_NONE: not running */
};

struct front_listener {
    struct side side; /* first */
    const struct listener *listener;
};

#define FRONT_BUCKETS 64

struct front {
    struct http_server *server;
    const struct http_config *config;
    const struct http_backend *backend;
    struct rest *rest; /* h2o's loop and context */
    pthread_t thread;
    int epoll;
    int64_t now_ms;
    bool is_draining, is_stopping, is_quiet; /* quiet: the last connection of a drain is gone, and that was told */
    struct front_listener *listeners;
    size_t n_listeners;
    int64_t accept_at_ms; /* accepting pauses until then; 0: it does not */
    struct list conns, strangers, turns, upstreams, idle[FRONT_BUCKETS], timers[TIMER_N];
    int64_t duration_ms[TIMER_N];
    size_t n_conns, conns_max; /* as configured, or fewer: other descriptors are for upstreams and operations */
    size_t n_idle, n_dials, n_requests, n_pairs;
    void **graves; /* objects closed in this round: queued events may still name them */
    size_t n_graves, graves_cap;
    char *scratch;    /* PUMP_CHUNK bytes */
    struct head head; /* of the request or response just being looked at */
    struct str text;
    struct side mailbox; /* an eventfd */
    pthread_mutex_t mail_lock;
    struct message *mail, **mail_end; /* under mail_lock */
    struct {
        atomic_uint_fast64_t connections, requests, unauthorized, proxied, dials, open, upgraded;
        atomic_uint_fast64_t guests; /* connections to them, and dials under way */
    } count; /* read by any thread */
};

/* Makes a loop; its thread starts with front_start(). */
int front_new(struct http_server *server, const struct http_config *config, const struct http_backend *backend,
              const struct listener *listeners, size_t n_listeners, struct front **ret, struct runner_error *err);
int front_start(struct front *front, struct runner_error *err);
/* Joins a thread that was told to stop (or never started), frees. */
void front_free(struct front *front, bool has_thread);

/* Any thread. */
void front_post(struct front *front, struct message *message);
void front_count(atomic_uint_fast64_t *counter, int by);

/* Has the connection go on after the others had their turn. */
void front_turn(struct front *front, struct list *turn);
/* Frees p when this round of events is over. */
void front_bury(struct front *front, void *p);
/* A descriptor was closed: accepting may go on, if it had paused for want of one. */
void front_fd_freed(struct front *front);
/* Begins to accept. */
void front_listen(struct front *front);
/* No more accepting; idle connections close. / Everything closes and the thread ends. */
void front_drain(struct front *front);
void front_stop(struct front *front);
/* The h2o loop's callback: something in the epoll set is ready. */
void front_events(struct front *front);

/* Starts the class's deadline from now, unless that class runs already and again is false. */
void timer_set(struct front *front, struct timer *timer, enum timer_class class, bool again);
void timer_stop(struct timer *timer);

#endif
