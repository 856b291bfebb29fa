/*
 * Worker threads and their queue. Tasks of one lane (a sandbox id) run one at a time, in order; different lanes run
 * in parallel. A lane exists while it has tasks.
 *
 * Of each class so many tasks run at once as was said at first. One that has run for a while (a light one
 * for 50 ms, a heavy one for 5 s) does not count among them any more: it waits for something outside, such as a
 * machine that hangs, and the others do not wait for that. Threads are made as they are needed; all but a few end when
 * they have nothing to do.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/runner-plugin.h"

struct pool;

enum task_class {
    TASK_LIGHT, /* looks, waits, ends: done in no time unless something hangs */
    TASK_HEAVY, /* brings a machine up, which needs a processor for seconds */
    TASK_CLASSES
};

struct task {
    void (*run)(struct task *); /* on a worker; owns the task from then on */
    enum task_class class;
    struct task *next; /* the pool's */
};

enum pool_entry {
    POOL_ASKED,   /* refused where there are too many, and by a pool that drains */
    POOL_COUNTED, /* whoever hands it over has a limit of his own: refused by a pool that drains only */
    POOL_INTERNAL /* recovery, VMM exits: always taken */
};

/* Threads have all signals blocked. at_once: tasks of a class, see above; limit: tasks waiting or running. */
struct pool *pool_new(size_t at_once, size_t limit);

/* Hands the task over. lane: NULL for one of its own. -1: the queue is full or the pool is draining (BUSY, retry); the
 * task stays the caller's. Any thread. */
int pool_submit(struct pool *pool, const char *lane, struct task *task, enum pool_entry entry,
                struct runner_error *err);

/* From now on only internal tasks are taken, and those that wait begin at once: they ask whether it is worth it. */
void pool_drain(struct pool *pool);
bool pool_is_draining(struct pool *pool);
/* Waits until nothing waits or runs, at most timeout_ms; how many tasks are left. */
size_t pool_wait_idle(struct pool *pool, int64_t timeout_ms);
size_t pool_load(struct pool *pool, size_t *ret_running);
/* Runs what is left, then joins the threads. */
void pool_free(struct pool *pool);

#endif
