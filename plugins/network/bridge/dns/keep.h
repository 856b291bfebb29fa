/* A process that serves, and another whenever it has ended. */
#ifndef DNS_KEEP_H
#define DNS_KEEP_H

#include "plugins/network/bridge/dns/options.h"

/* Starts children that call serve() until SIGTERM; the state file of the options says how that goes. A child that ends soon is
 * followed by another ever later, up to 10 s. The servers of resolv.conf are read before each, and when that file changes the
 * child is replaced. No child outlives this process. Returns the exit status. */
int keep_serving(struct options *options, int (*serve)(const struct options *, int ready_fd));

#endif
