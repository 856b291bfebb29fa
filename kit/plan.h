/* What planners promise of the steps that they add; and calls at once. */
#ifndef KIT_PLAN_H
#define KIT_PLAN_H

#include "kit/op.h"

/* A new batch with the steps of one request, in a world as it was at first (subject_renew). Ends the process when there
 * is none to be had. The caller frees it. */
typedef struct runner_batch *plan_fn(struct subject *s);

struct runner_batch *plan_begin(struct subject *s); /* renews, and an empty batch */

/* All paths are absolute, without "..", and what is made, changed or removed is below dir (interfaces aside). */
void plan_check_paths(struct subject *s, plan_fn *plan, const char *dir);
/* Run and undone, and stopped at each step in turn, it leaves of these kinds of things (see world_text) what was there
 * before; undoing again is fine. stopped_kinds: after a stop only these. */
void plan_check_undo(struct subject *s, plan_fn *plan, const char *kinds, const char *stopped_kinds);
/* Runs it; a failure is a flaw and false. */
bool plan_run(struct runner_batch *batch, const char *what);

enum { AT_ONCE = 8 };
/* fn on so many threads at once: on one instance if threads says PARALLEL, on one each if it says PER_INSTANCE; else
 * the point is skipped. fn returns a text, which the caller frees. */
typedef char *at_once_fn(struct subject *s, void *self, struct runner_call *call, size_t thread);
void plan_at_once(struct subject *s, at_once_fn *fn, char *ret_texts[AT_ONCE]);
/* The same, and what fn says on each thread is what it says alone. */
void plan_check_at_once(struct subject *s, at_once_fn *fn, const char *what);

#endif
