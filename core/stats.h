/* Figures of one machine: of its process, read through the host's transport, and as its VMM counts. Absent: nothing is
 * added. Worker threads; may block. */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include "core/engine.h"

/* 0: its process does not live. */
int64_t stats_pid(struct runner_call *call, const struct sandbox *sandbox);
/* cpuMs, rssBytes. */
void stats_add_process(struct runner_call *call, int64_t pid, struct str *out);
/* "counters": {...}. */
void stats_add_counters(struct engine *engine, struct runner_call *call, const struct sandbox *sandbox,
                        struct str *out);

#endif
