/* What sandboxes receive, send and may not send, in /metrics. Worker threads; asks each host once. */
#ifndef CORE_VIEW_NETWORK_H
#define CORE_VIEW_NETWORK_H

#include "core/engine.h"

/* Counters of each running sandbox of the hosts whose network counts; of at most 1000 a host, the first by id, so that
 * what is kept of them has a bound. Of a host that does not answer soon there are none. */
void view_add_network_metrics(struct engine *engine, struct runner_call *call, struct str *out);

#endif
