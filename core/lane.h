/*
 * Lanes: tasks of one name (a sandbox id), in the order in which they came. A lane is there while it has tasks. The
 * pool's lock guards all of it.
 */
#ifndef CORE_LANE_H
#define CORE_LANE_H

#include "core/pool.h"

struct lane {
    char *name;                /* NULL: of one task only, not in the table */
    struct task *first, *last; /* waiting; the running one is in neither */
    struct lane *next_bucket;  /* same hash */
    struct lane *next_ready;   /* the pool's */
};

struct lanes {
    struct lane *buckets[1024];
};

/* Puts the task at the end of the lane of that name (NULL: of one of its own). The lane when it is a fresh one, whose
 * task may run; NULL: the task is behind others. */
struct lane *lanes_add(struct lanes *lanes, const char *name, struct task *task);
/* Of a lane that has waiting tasks. */
struct task *lane_pop(struct lane *lane);
/* Its last task is done. */
void lanes_drop(struct lanes *lanes, struct lane *lane);

#endif
