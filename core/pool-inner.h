/* What pool.c (tasks: which may run, and in which order) and pool-worker.c (threads) share. */
#ifndef CORE_POOL_INNER_H
#define CORE_POOL_INNER_H

#include <pthread.h>
#include <time.h>

#include "core/lane.h"

#define POOL_RUNNING_MAX 1024 /* tasks of a class that run at once, those included that count no more */

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

/* ---- with the pool's mutex held ---- */

/* The class of which a lane may be taken, or TASK_CLASSES: none, and in how many milliseconds one may be; -1: nobody
 * knows. */
enum task_class pool_next_class(struct pool *pool, int64_t *ret_ms);
/* Runs the next task of that class on the calling thread, meanwhile without the mutex. */
void pool_run_next(struct pool *pool, struct worker *self, enum task_class which);

/* Without a thread more, what is ready waits for those that are there. */
void worker_start(struct pool *pool);
/* There is an idle one. */
void worker_wake_one(struct pool *pool);

/* ---- without it ---- */

void worker_join(struct worker *worker);     /* takes NULL */
struct timespec worker_deadline(int64_t ms); /* so many from now, by the monotonic clock, as conditions want it */

#endif
