/* A sandbox's network interface. */
#ifndef CORE_NIC_H
#define CORE_NIC_H

#include "include/runner-plugin.h"

/* As the guest has it, for its seed and its VMM: what the network translates on the way (guest_*) stands in the place of
 * that by which the host knows it. */
struct runner_nic nic_of_guest(const struct runner_nic *nic);

/* What ipam leases becomes the nic's. */
void nic_set_lease(struct runner_nic *nic, const struct runner_lease *lease);

#endif
