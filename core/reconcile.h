/* Bringing a host up: its network, the records on it, and one recovery operation for each sandbox found. */
#ifndef CORE_RECONCILE_H
#define CORE_RECONCILE_H

#include "core/engine.h"

/* Queues the work for every host; host_wait_up() tells when operations may begin. Never fails as a whole: what is wrong
 * with one host is that host's problem. */
void reconcile_start(struct engine *engine);

/* For a host that did not come up, of which nothing is known yet: does that work, within the call. Worker. */
void reconcile_again(struct engine *engine, struct host *host, struct runner_call *call);

/* What a record has of its host is its own in the memory of who gives that away. The same again is fine. Worker. */
int reconcile_adopt(struct host *host, struct runner_call *call, const struct record *record, struct runner_error *err);

#endif
