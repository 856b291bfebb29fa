/* Figures of one machine: of its process, read through the host's transport, and as its VMM counts. Absent: nothing is
 * added. Worker threads; may block. */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include "core/engine.h"

struct stats_look {
    struct sandbox *sandbox;
    bool is_wanted;
    int64_t pid; /* 0: not wanted, or its process does not live */
};
/* The pids of many: one round trip a host, for a thousand. */
void stats_find_pids(struct engine *engine, struct runner_call *call, struct stats_look *looks, size_t n);
/* cpuMs, rssBytes. */
void stats_add_process(struct runner_call *call, int64_t pid, struct str *out);
/* "counters": {...}. */
void stats_add_counters(struct engine *engine, struct runner_call *call, const struct sandbox *sandbox,
                        struct str *out);

#endif
