/* Limits of bandwidth by queues, of those sandboxes that have one. Rates in bytes a second; 0: no limit. */
#ifndef SHAPER_H
#define SHAPER_H

#include "plugins/network/bridge/bridge.h"

struct shaper_found {           /* what the host's kernel has */
    bool has_tbf;               /* the queue itself: enough for what is received */
    bool has_ifb, has_redirect; /* and both of these for what is sent: where it waits, and the way there */
};

/* Tries it with interfaces of its own, which are gone again: some 30 ms. */
int shaper_probe(struct runner_call *call, struct shaper_found *ret, struct runner_error *err);

/* Adds the steps after which those limits are in force, whatever was before; a rate that this kernel cannot keep by queues
 * is left as it is, one that is kept becomes 0. The first time that there is a limit it probes. */
int shaper_plan(struct bridge *b, struct runner_call *call, struct runner_batch *batch, const struct guest *g,
                uint64_t *rx_bytes_per_s, uint64_t *tx_bytes_per_s, struct runner_error *err);
/* While its port still has its name: an idle TAP has no limits. */
int shaper_remove(const struct bridge *b, struct runner_batch *batch, const struct guest *g, struct runner_error *err);
int shaper_sweep(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                 struct runner_error *err);

#endif
