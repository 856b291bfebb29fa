/* Threads of a pool: made as they are needed, idle, ended. */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "core/pool-inner.h"
#include "core/util/str.h"

#define STACK_SIZE    (256 * 1024)
#define IDLE_MS       1000 /* without work: memory goes back to the system, threads beyond those that stay end */
#define TRIM_AGAIN_MS 50

void worker_wake_one(struct pool *pool)
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

struct timespec worker_deadline(int64_t ms)
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

void worker_join(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->wake);
    free(worker);
}

/* ---- idle: the mutex is held ---- */

/* Where nothing was done for a while, memory goes back to the system: that
 * which a thread kept for itself once the thread is joined, and each joins the one that ended before. */
static void trim(struct pool *pool)
{
    struct worker *ended = pool->ended;

    pool->ended = NULL;
    pool->has_worked = false;
    pthread_mutex_unlock(&pool->mutex);
    worker_join(ended);
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
    struct timespec until = worker_deadline(is_watch ? watch_ms : IDLE_MS);
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
        until = worker_deadline(is_trimmer ? TRIM_AGAIN_MS : IDLE_MS);
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

/* ---- the thread ---- */

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
        enum task_class which = pool_next_class(pool, &ms);

        if (which != TASK_CLASSES) {
            pool_run_next(pool, self, which);
        } else if (pool->is_stopping && ms < 0) {
            break;
        } else if (!await_work(pool, self, pool->is_watched ? -1 : ms)) {
            before = leave(pool, self);
            break;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    worker_join(before);
    return NULL;
}

void worker_start(struct pool *pool)
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
