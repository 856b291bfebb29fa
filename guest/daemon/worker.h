/* File work that can take long (trees, whole contents) is done by a forked child, so that the loop goes on. */
#ifndef GUEST_WORKER_H
#define GUEST_WORKER_H

#include "guest/daemon/server.h"

/*
 * The child's work: puts the JSON of the reply into out, or fails. Runs in a copy of this process; arg is its own copy.
 * Whatever it allocates ends with it.
 */
typedef int worker_fn(const void *arg, struct str *out, struct runner_error *err);

/* Runs fn and answers the exchange with what it gave: status with the JSON (an empty body when out stays empty), or the
 * error. A client that leaves ends the child. */
void worker_run(struct exchange *x, int status, worker_fn *fn, const void *arg);

#endif
