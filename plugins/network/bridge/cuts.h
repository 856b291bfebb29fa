/* Connections that a list no longer allows: packets of theirs do not pass, but the kernel remembers them, those of TCP for
 * days, and each sandbox may have so many. They are forgotten by a later look, since to find them is to look through all.
 * Any thread. */
#ifndef CUTS_H
#define CUTS_H

#include "plugins/network/bridge/bridge.h"

struct cuts *cuts_new(void);
void cuts_free(struct cuts *cuts); /* takes NULL */

/* The address may speak to these only: by the next look its connections to others are forgotten. NULL: by none. */
void cuts_set(struct cuts *cuts, const char *address, const struct runner_policy *policy);
/* The look. What fails is logged. */
void cuts_run(const struct bridge *b, struct runner_call *call);

#endif
