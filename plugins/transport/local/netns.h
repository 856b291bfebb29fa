/* A TAP in a network namespace of its own. */
#ifndef NETNS_H
#define NETNS_H

#include "plugins/transport/local/local.h"

/* Of a TAP_ADD with a netns: a queue of the TAP, with which it all goes, and here the interface that is to be the port, of
 * the step's name, down. -1: nothing is left. */
int netns_make(const struct runner_step *step, int *ret_fd, int *ret_index, struct runner_error *err);

#endif
