/* The capacity of the hosts, in /info and /metrics. Any thread; asks no host. */
#ifndef CORE_VIEW_CAPACITY_H
#define CORE_VIEW_CAPACITY_H

#include "core/engine.h"

/* "capacity": [{"host", "resource", "allocated", "limit", "has"}, ...]: bytes where it is memory or disk; limit null: none;
 * has null: nothing that the host has, or not known. */
void view_add_capacity(struct engine *engine, struct str *out);
/* Gauges of what is allocated and of its limit, where there is one; counters of what was refused. */
void view_add_capacity_metrics(struct engine *engine, struct str *out);

/* What the sandboxes of all hosts have, and what the hosts have. */
void view_sum_capacity(struct engine *engine, struct amounts *ret_allocated, struct amounts *ret_has);

#endif
