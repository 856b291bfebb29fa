/* What all sandboxes of a host share: bridges, their addresses, forwarding, the rules. */
#ifndef BRIDGE_SETUP_H
#define BRIDGE_SETUP_H

#include "plugins/network/bridge/bridge.h"

struct json;

int setup_check(const struct bridge *b, struct runner_call *call, struct runner_error *err);
/* Makes what is missing. more: bridges that there were not before, a bit each. */
int setup_run(struct bridge *b, struct runner_call *call, uint64_t more, struct runner_error *err);
/* The interface to the outside, of what `ip -j -4 route show default` prints (NULL: nothing); "": none. */
void setup_uplink(const struct bridge *b, const struct json *routes, char ret[IFNAME_SIZE]);

#endif
