#include "core/pool.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define BUCKETS    1024
#define STACK_SIZE (256 * 1024)
#define IDLE_MS    1000 /* without work for so long, memory goes back to the system */

struct lane {
    char *name;                /* NULL: of one task only, not in the table */
    struct task *first, *last; /* waiting; the running one is in neither */
    struct lane *next_bucket;  /* same hash */
    struct lane *next_ready;
};

/* The one that went idle last is woken first: its stack and its share of the heap are warm, the others need none. */
struct worker {
    struct pool *pool;
    pthread_t thread;
    pthread_cond_t wake;
    bool is_idle; /* in the pool's list */
    struct worker *next_idle;
};

struct pool {
    pthread_mutex_t mutex; /* guards all below */
    struct worker *idlers;
    pthread_cond_t idle; /* n_tasks became 0 */
    struct lane *buckets[BUCKETS];
    struct lane *first_ready, *last_ready;
    size_t n_tasks, n_running, limit;
    bool is_draining, is_stopping;
    bool has_worked; /* since memory was last given back */
    struct worker *workers;
    size_t n_workers;
};

static size_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % BUCKETS;
}

static struct lane *lane_find(struct pool *pool, const char *name)
{
    struct lane *lane = pool->buckets[bucket_of(name)];

    while (lane != NULL && strcmp(lane->name, name) != 0)
        lane = lane->next_bucket;
    return lane;
}

static void lane_drop(struct pool *pool, struct lane *lane)
{
    if (lane->name != NULL) {
        struct lane **link = &pool->buckets[bucket_of(lane->name)];
        while (*link != lane)
            link = &(*link)->next_bucket;
        *link = lane->next_bucket;
    }
    free(lane->name);
    free(lane);
}

static void wake_one(struct pool *pool)
{
    struct worker *worker = pool->idlers;

    if (worker == NULL)
        return;
    pool->idlers = worker->next_idle;
    worker->is_idle = false;
    pthread_cond_signal(&worker->wake);
}

static void make_ready(struct pool *pool, struct lane *lane)
{
    lane->next_ready = NULL;
    if (pool->last_ready != NULL)
        pool->last_ready->next_ready = lane;
    else
        pool->first_ready = lane;
    pool->last_ready = lane;
    wake_one(pool);
}

static struct task *lane_pop(struct lane *lane)
{
    struct task *task = lane->first;

    lane->first = task->next;
    if (lane->first == NULL)
        lane->last = NULL;
    return task;
}

static struct timespec in_ms(int ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    return until;
}

/* Called with the mutex held, as the next ones. Where nothing was done for a while, memory goes back to the system. */
static void trim(struct pool *pool)
{
    pool->has_worked = false;
    pthread_mutex_unlock(&pool->mutex);
#ifndef __SANITIZE_ADDRESS__ /* its heap is another; glibc's, unused, does not bear two threads that begin at once */
    (void)malloc_trim(0);
#endif
    pthread_mutex_lock(&pool->mutex);
}

/* Until woken. The worker that ended the last task waits with a limit. */
static void await_work(struct pool *pool, struct worker *self)
{
    struct timespec until = in_ms(IDLE_MS);
    bool is_last = pool->has_worked && pool->n_tasks == 0;

    self->is_idle = true;
    self->next_idle = pool->idlers;
    pool->idlers = self;
    while (self->is_idle)
        if (!is_last) {
            pthread_cond_wait(&self->wake, &pool->mutex);
        } else if (pthread_cond_timedwait(&self->wake, &pool->mutex, &until) == ETIMEDOUT) {
            is_last = false;
            if (pool->n_tasks == 0)
                trim(pool);
        }
}

/* A lane is off the ready list while one of its tasks runs: that is what keeps it in order. */
static void *work(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;

    (void)pthread_setname_np(pthread_self(), "worker");
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct lane *lane;
        struct task *task;

        while (pool->first_ready == NULL && !pool->is_stopping)
            await_work(pool, self);
        lane = pool->first_ready;
        if (lane == NULL)
            break;
        pool->first_ready = lane->next_ready;
        if (pool->first_ready == NULL)
            pool->last_ready = NULL;
        task = lane_pop(lane);
        pool->n_running++;
        pthread_mutex_unlock(&pool->mutex);

        task->run(task);

        pthread_mutex_lock(&pool->mutex);
        pool->n_running--;
        pool->n_tasks--;
        pool->has_worked = true;
        if (lane->first == NULL)
            lane_drop(pool, lane);
        else
            make_ready(pool, lane);
        if (pool->n_tasks == 0)
            pthread_cond_broadcast(&pool->idle);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static void start_workers(struct pool *pool, size_t n, const pthread_condattr_t *monotonic)
{
    pthread_attr_t attr;
    sigset_t all, before;

    pool->workers = mem_array(n, sizeof *pool->workers);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    while (pool->n_workers < n) {
        struct worker *worker = &pool->workers[pool->n_workers];

        worker->pool = pool;
        pthread_cond_init(&worker->wake, monotonic);
        if (pthread_create(&worker->thread, &attr, work, worker) != 0) {
            pthread_cond_destroy(&worker->wake);
            break;
        }
        pool->n_workers++;
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct pool *pool_new(size_t threads, size_t limit)
{
    struct pool *pool = mem_alloc(sizeof *pool);
    pthread_condattr_t monotonic;

    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->idle, &monotonic);
    pool->limit = limit;
    start_workers(pool, threads, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pool->n_workers == 0) {
        pool_free(pool);
        return NULL;
    }
    return pool;
}

int pool_submit(struct pool *pool, const char *lane_name, struct task *task, bool is_internal, struct runner_error *err)
{
    struct lane *lane;
    bool is_refused;

    pthread_mutex_lock(&pool->mutex);
    is_refused = !is_internal && (pool->is_draining || pool->n_tasks >= pool->limit);
    if (!is_refused) {
        lane = lane_name != NULL ? lane_find(pool, lane_name) : NULL;
        task->next = NULL;
        pool->n_tasks++;
        if (lane != NULL) {
            if (lane->first != NULL)
                lane->last->next = task;
            else
                lane->first = task;
            lane->last = task;
        } else {
            lane = mem_alloc(sizeof *lane);
            lane->name = mem_dup(lane_name);
            lane->first = lane->last = task;
            if (lane_name != NULL) {
                lane->next_bucket = pool->buckets[bucket_of(lane_name)];
                pool->buckets[bucket_of(lane_name)] = lane;
            }
            make_ready(pool, lane);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    if (!is_refused)
        return 0;
    (void)fail(err, RUNNER_E_BUSY, 0, "the runner is busy or stopping: %zu operations are waiting", pool->limit);
    if (err != NULL)
        err->retry = 1;
    return -1;
}

void pool_drain(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->is_draining = true;
    pthread_mutex_unlock(&pool->mutex);
}

size_t pool_wait_idle(struct pool *pool, int timeout_ms)
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
    pool->is_stopping = true;
    while (pool->idlers != NULL)
        wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->n_workers; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        pthread_cond_destroy(&pool->workers[i].wake);
    }
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}
