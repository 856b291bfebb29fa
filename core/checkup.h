/* Whether the plugins of the hosts still find what they need: check() of each instance, again and again. What was found is
 * kept in the instances, where healthchecks and the choice of a VMM see it; nobody waits for it. A network that has lost what it
 * made is set up again. */
#ifndef CORE_CHECKUP_H
#define CORE_CHECKUP_H

#include "core/engine.h"

/* Has a worker check the plugins of each host for which that is due, unless one does already. The reaper's thread. Returns
 * in how many ms something may be due. */
int64_t checkup_step(struct engine *engine);

/* Those that run end soon, by a cancel. Any thread. */
void checkup_cancel(struct engine *engine);

#endif
