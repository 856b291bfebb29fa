#include "core/pool.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "core/lane.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define STACK_SIZE    (256 * 1024)
#define IDLE_MS       1000 /* without work: memory goes back to the system, threads beyond those that stay end */
#define TRIM_AGAIN_MS 50
#define STAYING       1    /* threads: each keeps a stack, and of what it freed up to 200 KiB (malloc's cache) */
#define RUNNING_MAX   1024 /* tasks of a class that run at once, those included that count no more */

/* A task that has run for so long waits for something outside: it counts no more. */
static const int64_t patience_ms[TASK_CLASSES] = {[TASK_LIGHT] = 50, [TASK_HEAVY] = 5000};

/* The one that went idle last is woken first: its stack and its share of the heap are warm, the others need none, and
 * end. */
struct worker {
    struct pool *pool;
    pthread_t thread;
    pthread_cond_t wake;
    bool is_idle; /* in the pool's list */
    struct worker *next_idle;
    struct worker *next, *prev; /* in the pool's list of all */
    bool is_counted;            /* in its task's class */
    struct worker *next_counted, *prev_counted;
    int64_t began_ms;
};

struct class_state {
    struct lane *first_ready, *last_ready;
    struct worker *first_counted, *last_counted; /* in the order in which they began */
    size_t n_counted, n_running;
};

struct pool {
    pthread_mutex_t mutex; /* guards all below */
    struct class_state classes[TASK_CLASSES];
    unsigned turn; /* the class that is asked first */
    struct worker *idlers;
    bool is_watched;     /* an idle worker wakes when a running task counts no more */
    pthread_cond_t idle; /* n_tasks became 0 */
    struct lanes lanes;
    size_t n_tasks, n_running, limit;
    bool is_draining, is_stopping;
    bool has_worked;  /* since memory was last given back */
    bool has_trimmer; /* an idle worker that will give it back */
    struct worker *workers;
    struct worker *ended;         /* at most one, not in the list any more, to be joined */
    size_t n_workers, n_starting; /* starting: has not looked for work yet */
    size_t n_at_once;             /* tasks of a class */
    size_t n_staying;             /* workers that wait for work however long it takes */
};

static void wake_one(struct pool *pool)
{
    struct worker *worker = pool->idlers;

    pool->idlers = worker->next_idle;
    worker->is_idle = false;
    pthread_cond_signal(&worker->wake);
}

static void unlist_idle(struct pool *pool, struct worker *self)
{
    struct worker **link = &pool->idlers;

    while (*link != self)
        link = &(*link)->next_idle;
    *link = self->next_idle;
    self->is_idle = false;
}

/* ---- what counts ---- */

static void count(struct class_state *class, struct worker *self)
{
    self->is_counted = true;
    self->began_ms = num_now_ms();
    self->next_counted = NULL;
    self->prev_counted = class->last_counted;
    if (class->last_counted != NULL)
        class->last_counted->next_counted = self;
    else
        class->first_counted = self;
    class->last_counted = self;
    class->n_counted++;
}

static void uncount(struct class_state *class, struct worker *self)
{
    if (!self->is_counted)
        return;
    self->is_counted = false;
    if (self->prev_counted != NULL)
        self->prev_counted->next_counted = self->next_counted;
    else
        class->first_counted = self->next_counted;
    if (self->next_counted != NULL)
        self->next_counted->prev_counted = self->prev_counted;
    else
        class->last_counted = self->prev_counted;
    class->n_counted--;
}

/* Milliseconds until a ready lane of the class may be taken: 0: now; -1: nobody knows. */
static int64_t wait_of(struct pool *pool, enum task_class which, int64_t now_ms)
{
    struct class_state *class = &pool->classes[which];

    while (class->first_counted != NULL && now_ms - class->first_counted->began_ms >= patience_ms[which])
        uncount(class, class->first_counted);
    if (class->n_running >= RUNNING_MAX)
        return -1;
    if (class->n_counted < pool->n_at_once || pool->is_draining)
        return 0;
    return class->first_counted->began_ms + patience_ms[which] - now_ms;
}

/* The class of which a lane may be taken, or TASK_CLASSES: none, and in how many milliseconds one may be; -1: nobody
 * knows. */
static enum task_class next_class(struct pool *pool, int64_t *ret_ms)
{
    int64_t now_ms = num_now_ms();

    *ret_ms = -1;
    for (unsigned i = 0; i < TASK_CLASSES; i++) {
        enum task_class which = (enum task_class)((pool->turn + i) % TASK_CLASSES);
        int64_t ms;

        if (pool->classes[which].first_ready == NULL)
            continue;
        ms = wait_of(pool, which, now_ms);
        if (ms == 0)
            return which;
        if (ms > 0 && (*ret_ms < 0 || ms < *ret_ms))
            *ret_ms = ms;
    }
    return TASK_CLASSES;
}

/* ---- threads ---- */

static void *work(void *arg);

/* Without a thread more, what is ready waits for those that are there. */
static void start_worker(struct pool *pool)
{
    struct worker *worker = mem_alloc(sizeof *worker);
    pthread_condattr_t monotonic;
    pthread_attr_t attr;
    sigset_t all, before;
    int status;

    worker->pool = pool;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    status = pthread_create(&worker->thread, &attr, work, worker);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0) {
        pthread_cond_destroy(&worker->wake);
        free(worker);
        return;
    }
    worker->next = pool->workers;
    if (pool->workers != NULL)
        pool->workers->prev = worker;
    pool->workers = worker;
    pool->n_workers++;
    pool->n_starting++;
}

static void join(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->wake);
    free(worker);
}

/* A lane is ready that may be taken, or will be and nobody watches for that: somebody has to. Who takes one calls the
 * next. */
static void call_one(struct pool *pool)
{
    int64_t ms;

    if (next_class(pool, &ms) == TASK_CLASSES && (ms < 0 || pool->is_watched))
        return;
    if (pool->idlers != NULL)
        wake_one(pool);
    else if (pool->n_starting == 0 && pool->n_workers < TASK_CLASSES * RUNNING_MAX)
        start_worker(pool);
}

static void make_ready(struct pool *pool, struct lane *lane)
{
    struct class_state *class = &pool->classes[lane->first->class];

    lane->next_ready = NULL;
    if (class->last_ready != NULL)
        class->last_ready->next_ready = lane;
    else
        class->first_ready = lane;
    class->last_ready = lane;
    call_one(pool);
}

static struct lane *take_ready(struct class_state *class)
{
    struct lane *lane = class->first_ready;

    class->first_ready = lane->next_ready;
    if (class->first_ready == NULL)
        class->last_ready = NULL;
    return lane;
}

static struct timespec in_ms(int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    return until;
}

/* Called with the mutex held, as the next ones. Where nothing was done for a while, memory goes back to the system: that
 * which a thread kept for itself once the thread is joined, and each joins the one that ended before. */
static void trim(struct pool *pool)
{
    struct worker *ended = pool->ended;

    pool->ended = NULL;
    pool->has_worked = false;
    pthread_mutex_unlock(&pool->mutex);
    join(ended);
#ifndef __SANITIZE_ADDRESS__ /* its heap is another; glibc's, unused, does not bear two threads that begin at once */
    (void)malloc_trim(0);
#endif
    pthread_mutex_lock(&pool->mutex);
}

/* The trimmer has slept. It waits for those that are to end as well. */
static bool is_trimmed(struct pool *pool)
{
    if (pool->n_tasks == 0 && pool->n_workers > pool->n_staying)
        return false;
    if (pool->n_tasks == 0)
        trim(pool);
    pool->has_trimmer = false;
    return true;
}

/* Until woken, or for watch_ms (-1: does not watch). Whoever ended the last task, and threads beyond those that stay,
 * wake after IDLE_MS. False: this thread is to end. */
static bool await_work(struct pool *pool, struct worker *self, int64_t watch_ms)
{
    bool is_watch = watch_ms >= 0, is_extra = pool->n_workers > pool->n_staying;
    bool is_trimmer = !is_watch && pool->has_worked && pool->n_tasks == 0 && !pool->has_trimmer;
    struct timespec until = in_ms(is_watch ? watch_ms : IDLE_MS);
    int status = 0;

    self->is_idle = true;
    self->next_idle = pool->idlers;
    pool->idlers = self;
    pool->is_watched |= is_watch;
    pool->has_trimmer |= is_trimmer;
    while (self->is_idle && status == 0) {
        status = is_watch || is_extra || is_trimmer ? pthread_cond_timedwait(&self->wake, &pool->mutex, &until)
                                                    : pthread_cond_wait(&self->wake, &pool->mutex);
        if (status == 0 || !is_trimmer)
            continue;
        is_trimmer = !is_trimmed(pool);
        is_extra = pool->n_workers > pool->n_staying;
        until = in_ms(is_trimmer ? TRIM_AGAIN_MS : IDLE_MS);
        status = 0;
    }
    if (is_watch)
        pool->is_watched = false;
    if (is_trimmer)
        pool->has_trimmer = false;
    if (!self->is_idle)
        return true;
    unlist_idle(pool, self);
    return is_watch || pool->is_stopping || pool->n_workers <= pool->n_staying;
}

/* Called with the mutex held. A lane is off the ready list while one of its tasks runs: that is what keeps it in
 * order. */
static void run_next(struct pool *pool, struct worker *self, enum task_class which)
{
    struct class_state *class = &pool->classes[which];
    struct lane *lane = take_ready(class);
    struct task *task = lane_pop(lane);

    pool->turn = which + 1;
    pool->n_running++;
    class->n_running++;
    count(class, self);
    call_one(pool);
    pthread_mutex_unlock(&pool->mutex);

    task->run(task);

    pthread_mutex_lock(&pool->mutex);
    uncount(class, self);
    class->n_running--;
    pool->n_running--;
    pool->n_tasks--;
    pool->has_worked = true;
    if (lane->first == NULL)
        lanes_drop(&pool->lanes, lane);
    else
        make_ready(pool, lane);
    if (pool->n_tasks == 0)
        pthread_cond_broadcast(&pool->idle);
}

/* Called with the mutex held: the thread leaves the pool while that goes on. */
static struct worker *leave(struct pool *pool, struct worker *self)
{
    struct worker *before = pool->ended;

    if (self->prev != NULL)
        self->prev->next = self->next;
    else
        pool->workers = self->next;
    if (self->next != NULL)
        self->next->prev = self->prev;
    pool->n_workers--;
    pool->ended = self;
    return before;
}

static void *work(void *arg)
{
    struct worker *self = arg, *before = NULL;
    struct pool *pool = self->pool;

    (void)pthread_setname_np(pthread_self(), "worker");
    pthread_mutex_lock(&pool->mutex);
    pool->n_starting--;
    for (;;) {
        int64_t ms;
        enum task_class which = next_class(pool, &ms);

        if (which != TASK_CLASSES) {
            run_next(pool, self, which);
        } else if (pool->is_stopping && ms < 0) {
            break;
        } else if (!await_work(pool, self, pool->is_watched ? -1 : ms)) {
            before = leave(pool, self);
            break;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    join(before);
    return NULL;
}

struct pool *pool_new(size_t at_once, size_t limit)
{
    struct pool *pool = mem_alloc(sizeof *pool);
    pthread_condattr_t monotonic;

    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pool->limit = limit;
    pool->n_at_once = at_once;
    pool->n_staying = at_once < STAYING ? at_once : STAYING;
    pthread_mutex_lock(&pool->mutex);
    for (size_t i = 0; i < pool->n_staying; i++)
        start_worker(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (pool->n_workers == 0) {
        pool_free(pool);
        return NULL;
    }
    return pool;
}

int pool_submit(struct pool *pool, const char *lane_name, struct task *task, bool is_internal, struct runner_error *err)
{
    bool is_draining, is_refused;

    pthread_mutex_lock(&pool->mutex);
    is_draining = pool->is_draining;
    is_refused = !is_internal && (is_draining || pool->n_tasks >= pool->limit);
    if (!is_refused) {
        struct lane *lane = lanes_add(&pool->lanes, lane_name, task);

        pool->n_tasks++;
        if (lane != NULL)
            make_ready(pool, lane);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (!is_refused)
        return 0;
    if (is_draining)
        (void)fail(err, RUNNER_E_BUSY, 0, "the runner is stopping");
    else
        (void)fail(err, RUNNER_E_BUSY, 0, "the runner is busy: %zu operations are waiting", pool->limit);
    if (err != NULL)
        err->retry = 1;
    return -1;
}

void pool_drain(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->is_draining = true;
    call_one(pool);
    pthread_mutex_unlock(&pool->mutex);
}

bool pool_is_draining(struct pool *pool)
{
    bool is_draining;

    pthread_mutex_lock(&pool->mutex);
    is_draining = pool->is_draining;
    pthread_mutex_unlock(&pool->mutex);
    return is_draining;
}

size_t pool_wait_idle(struct pool *pool, int64_t timeout_ms)
{
    struct timespec until = in_ms(timeout_ms);
    size_t left;
    int status = 0;

    pthread_mutex_lock(&pool->mutex);
    while (pool->n_tasks > 0 && status == 0)
        status = pthread_cond_timedwait(&pool->idle, &pool->mutex, &until);
    left = pool->n_tasks;
    pthread_mutex_unlock(&pool->mutex);
    return left;
}

size_t pool_load(struct pool *pool, size_t *ret_running)
{
    size_t n;

    pthread_mutex_lock(&pool->mutex);
    n = pool->n_tasks;
    *ret_running = pool->n_running;
    pthread_mutex_unlock(&pool->mutex);
    return n;
}

void pool_free(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->is_stopping = true; /* nobody leaves any more: the list stays as it is */
    while (pool->idlers != NULL)
        wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
    while (pool->workers != NULL) {
        struct worker *next = pool->workers->next;

        join(pool->workers);
        pool->workers = next;
    }
    join(pool->ended);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
