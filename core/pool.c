#include "core/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define BUCKETS 1024
#define STACK_SIZE (256 * 1024)

struct lane {
    char *name;               /* NULL: of one task only, not in the table */
    struct task *first, *last; /* waiting; the running one is in neither */
    struct lane *next_bucket; /* same hash */
    struct lane *next_ready;
};

struct pool {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t ready;  /* a lane has work, or is_stopping */
    pthread_cond_t idle;   /* n_tasks became 0 */
    struct lane *buckets[BUCKETS];
    struct lane *first_ready, *last_ready;
    size_t n_tasks, n_running, limit;
    bool is_draining, is_stopping;
    pthread_t *threads;
    size_t n_threads;
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

static void make_ready(struct pool *pool, struct lane *lane)
{
    lane->next_ready = NULL;
    if (pool->last_ready != NULL)
        pool->last_ready->next_ready = lane;
    else
        pool->first_ready = lane;
    pool->last_ready = lane;
    pthread_cond_signal(&pool->ready);
}

static struct task *lane_pop(struct lane *lane)
{
    struct task *task = lane->first;

    lane->first = task->next;
    if (lane->first == NULL)
        lane->last = NULL;
    return task;
}

/* A lane is off the ready list while one of its tasks runs: that is what keeps it in order. */
static void *work(void *arg)
{
    struct pool *pool = arg;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct lane *lane;
        struct task *task;

        while (pool->first_ready == NULL && !pool->is_stopping)
            pthread_cond_wait(&pool->ready, &pool->mutex);
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

struct pool *pool_new(size_t threads, size_t limit)
{
    struct pool *pool = mem_alloc(sizeof *pool);
    pthread_condattr_t monotonic;
    pthread_attr_t attr;
    sigset_t all, before;

    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->ready, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pool->limit = limit;
    pool->threads = mem_array(threads, sizeof *pool->threads);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    while (pool->n_threads < threads && pthread_create(&pool->threads[pool->n_threads], &attr, work, pool) == 0)
        pool->n_threads++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->n_threads == 0) {
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
    struct timespec until;
    size_t left;
    int status = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
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
    pthread_cond_broadcast(&pool->ready);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->ready);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->threads);
    free(pool);
}
