/* A network namespace for a sandbox, so that guests that were copied from one memory can keep their addresses: within it the
 * guest has guest_mac, guest_address and guest_gateway of its nic, which are the same for all; outside, mac and address,
 * which are its own. */
#ifndef BRIDGE_NETNS_H
#define BRIDGE_NETNS_H

#include "plugins/network/bridge/bridge.h"

struct netns { /* of a sandbox; addresses in network order */
    uint32_t address, gateway, guest_address, guest_gateway;
    uint8_t mac[6], guest_mac[6], guest_gateway_mac[6];
    uint8_t gateway_mac[6];
    bool has_gateway_mac; /* else it is asked for */
};

/* The nic's guest has addresses of its own. */
bool netns_has(const struct runner_nic *nic);
/* It is to have them: as `netns` says, and for one that was attached before as it was then. */
bool netns_wants(const struct bridge *b, const struct runner_nic *nic);
/* Fills guest_* of the nic where they are not set. */
void netns_fill(const struct bridge *b, struct runner_nic *nic);
/* The messages that make it, in the caller's texts. INVALID when the nic lacks something. */
int netns_messages(const struct bridge *b, const struct runner_nic *nic, struct str *rules, struct str *routes,
                   struct runner_netns *ret, struct runner_error *err);
/* netns-rules.c: those of the rules, put behind what is there. */
void netns_rules(const struct netns *n, struct str *ret);

/* Makes one as sandboxes have it, off the bridge, and removes it. */
int netns_try(const struct bridge *b, struct runner_call *call, struct runner_error *err);

#endif
