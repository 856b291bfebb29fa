/* Figures of a host, read through its transport: the call's host, which may be another machine. Worker threads; each
 * blocks for one round trip. */
#ifndef CORE_FIGURES_H
#define CORE_FIGURES_H

#include "core/engine.h"

/* dir: the file system that holds it. -1: the look failed, nothing is known. */
int figures_read(struct runner_call *call, const char *dir, struct figures *ret, struct runner_error *err);
/* Those of the host's root, of which its capacity learns; where the host does not answer, those of the last look. */
void figures_refresh(struct engine *engine, struct runner_call *call, struct figures *ret);
/* Before a sandbox is admitted: whether the host's file system has room for one more, -1 with NOSPACE, or what the look at
 * it failed of. Figures that could not be read so far are read as well. */
int figures_check_space(struct engine *engine, struct runner_call *call, struct runner_error *err);

#endif
