#include "core/nic.h"

#include <string.h>

struct runner_nic nic_of_guest(const struct runner_nic *nic)
{
    struct runner_nic guest = *nic;

    if (nic->guest_address[0] == '\0')
        return guest;
    memcpy(guest.mac, nic->guest_mac, sizeof guest.mac);
    memcpy(guest.address, nic->guest_address, sizeof guest.address);
    memcpy(guest.gateway, nic->guest_gateway, sizeof guest.gateway);
    guest.prefix_len = nic->guest_prefix_len;
    return guest;
}

void nic_set_lease(struct runner_nic *nic, const struct runner_lease *lease)
{
    memcpy(nic->address, lease->address, sizeof nic->address);
    memcpy(nic->gateway, lease->gateway, sizeof nic->gateway);
    memcpy(nic->dns, lease->dns, sizeof nic->dns);
    nic->prefix_len = lease->prefix_len;
}
