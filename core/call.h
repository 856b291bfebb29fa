/* struct runner_call: one operation in flight. What waits on it waits here, so that a cancel wakes it. */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include <stdatomic.h>
#include <stdint.h>

#include "include/runner-plugin.h"

struct host;

struct runner_call {
    struct host *host;   /* may be NULL for work that touches none */
    const char *id;      /* sandbox, for logs; may be NULL; the owner's */
    int64_t deadline_us; /* monotonic clock */
    int cancel_fd;       /* eventfd, readable once cancelled; -1: cannot be cancelled */
    atomic_int cancelled;
    struct runner_call *parent; /* a child ends with its parent */
};

/* timeout_ms from now. A call without an eventfd (out of descriptors) still has its deadline. */
void call_init(struct runner_call *call, struct host *host, const char *id, int64_t timeout_ms);
/* One that nobody cancels: it needs no descriptor. */
void call_init_alone(struct runner_call *call, struct host *host, const char *id, int64_t timeout_ms);
void call_done(struct runner_call *call);
/* A call with a nearer deadline that shares the parent's cancel; needs no call_done. */
void call_init_child(struct runner_call *child, struct runner_call *parent, int64_t timeout_ms);

void call_cancel(struct runner_call *call); /* any thread, any number of times */

/* The functions behind the host table; see runner-plugin.h. */
int call_cancelled(struct runner_call *call);
int call_wait(struct runner_call *call, int fd, short events, int64_t ms);
int64_t call_left_ms(struct runner_call *call);

#endif
