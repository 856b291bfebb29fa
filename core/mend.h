/* A host's network as its records say, after others changed it. */
#ifndef CORE_MEND_H
#define CORE_MEND_H

#include "core/engine.h"

/* Interfaces that no record owns go, others come back to where they belong; none is touched while it is not known whose they
 * are: has_unreadable, has_foreign. Worker. */
void mend_sweep(struct engine *engine, struct host *host, struct runner_call *call, bool has_unreadable,
                bool has_foreign);

/* Who was unread or foreign on that host is ours now, or gone: interfaces are compared with the records, if it was the last
 * one. Worker. */
void mend_known(struct engine *engine, struct host *host, struct runner_call *call);

/* What all sandboxes share is made again where it is missing, and the policy of each that runs is put in force again, by an
 * operation that this only queues: until then it is closed. Logs, and counts for /metrics. Called by one check at a time, a
 * worker's; -1: it cannot be made. */
int mend_network(struct engine *engine, struct host *host, struct runner_call *call, struct runner_error *err);

#endif
