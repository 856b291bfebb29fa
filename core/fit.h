/* Whether the settings of a host's plugins fit each other, which none of them can know alone. */
#ifndef CORE_FIT_H
#define CORE_FIT_H

#include "core/host.h"

/* Whether the network takes what ipam leases: an attach is planned, on instances of its own, and thrown away, so that no
 * sandbox notices. 0: it does, or has addresses of its own, or that cannot be told before it is set up; -1: INVALID, with
 * the network's own words. Blocks; any thread. */
int fit_network(const struct host *host, struct runner_call *call, struct runner_error *err);

#endif
