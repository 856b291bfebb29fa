/* A sandbox's network interface. */
#ifndef CORE_NIC_H
#define CORE_NIC_H

#include "include/runner-plugin.h"

/* As the guest has it, for its seed and its VMM: what the network translates on the way (guest_*) stands in the place of
 * that by which the host knows it. */
struct runner_nic nic_of_guest(const struct runner_nic *nic);

#endif
