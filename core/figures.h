/* Figures of a host, read through its transport: the call's host, which may be another machine. Worker threads; each
 * blocks for one round trip. */
#ifndef CORE_FIGURES_H
#define CORE_FIGURES_H

#include "core/engine.h"

struct figures {        /* what cannot be read is 0 */
    struct amounts has; /* CPUs that are online; memory but for huge pages, which no VM here uses; the file system */
    int64_t memory_free, disk_free; /* bytes that anybody may still have */
    double load;                    /* average of 15 minutes */
};

/* dir: the file system that holds it. */
void figures_read(struct runner_call *call, const char *dir, struct figures *ret);
/* Those of the host's root; the host's capacity learns of them. */
void figures_refresh(struct engine *engine, struct runner_call *call, struct figures *ret);
/* Before a sandbox is admitted: whether the host's file system has room for one more, -1 with NOSPACE, or what the look at
 * it failed of. Figures that could not be read so far are read as well. */
int figures_check_space(struct engine *engine, struct runner_call *call, struct runner_error *err);

#endif
