/* Bringing a host up: its network, the records on it, and one recovery operation for each sandbox found. */
#ifndef CORE_RECONCILE_H
#define CORE_RECONCILE_H

#include "core/engine.h"

/* Queues the work for every host; host_wait_up() tells when operations may begin. Never fails as a whole: what is wrong
 * with one host is that host's problem. */
void reconcile_start(struct engine *engine);

#endif
