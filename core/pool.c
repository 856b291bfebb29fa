#include "core/pool.h"

#include <pthread.h>
#include <time.h>

#include "core/pool-inner.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define STAYING 1 /* threads: each keeps a stack, and of what it freed up to 200 KiB (malloc's cache) */

/* A task that has run for so long waits for something outside: it counts no more. */
static const int64_t patience_ms[TASK_CLASSES] = {[TASK_LIGHT] = 50, [TASK_HEAVY] = 5000};

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
    if (class->n_running >= POOL_RUNNING_MAX)
        return -1;
    if (class->n_counted < pool->n_at_once || pool->is_draining)
        return 0;
    return class->first_counted->began_ms + patience_ms[which] - now_ms;
}

enum task_class pool_next_class(struct pool *pool, int64_t *ret_ms)
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

/* ---- what is ready ---- */

/* A lane is ready that may be taken, or will be and nobody watches for that: somebody has to. Who takes one calls the
 * next. */
static void call_one(struct pool *pool)
{
    int64_t ms;

    if (pool_next_class(pool, &ms) == TASK_CLASSES && (ms < 0 || pool->is_watched))
        return;
    if (pool->idlers != NULL)
        worker_wake_one(pool);
    else if (pool->n_starting == 0 && pool->n_workers < TASK_CLASSES * POOL_RUNNING_MAX)
        worker_start(pool);
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

/* A lane is off the ready list while one of its tasks runs: that is what keeps it in
 * order. */
void pool_run_next(struct pool *pool, struct worker *self, enum task_class which)
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

/* ---- from outside ---- */

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
        worker_start(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (pool->n_workers == 0) {
        pool_free(pool);
        return NULL;
    }
    return pool;
}

int pool_submit(struct pool *pool, const char *lane_name, struct task *task, enum pool_entry entry,
                struct runner_error *err)
{
    bool is_draining, is_refused;

    pthread_mutex_lock(&pool->mutex);
    is_draining = pool->is_draining;
    is_refused = entry != POOL_INTERNAL && (is_draining || (entry == POOL_ASKED && pool->n_tasks >= pool->limit));
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
    struct timespec until = worker_deadline(timeout_ms);
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
        worker_wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
    while (pool->workers != NULL) {
        struct worker *next = pool->workers->next;

        worker_join(pool->workers);
        pool->workers = next;
    }
    worker_join(pool->ended);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
