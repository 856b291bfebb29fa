/* Descriptors that are opened for a new process. */
#ifndef GIVEN_H
#define GIVEN_H

#include "plugins/transport/local/local.h"

/* Close-on-exec; the caller's. The pid file's lock must be held: what a dead process left at the path is replaced. */
int given_open(const struct act *a, const struct runner_fd *how, int *ret_fd, struct runner_error *err);
/* What given_open() made, when there will be no process: sockets and FIFOs. Logs stay, they may be older. */
void given_remove(const struct runner_fd *how);

#endif
