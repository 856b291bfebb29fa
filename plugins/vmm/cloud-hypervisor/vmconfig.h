/* VmConfig, what vm.create takes: a function from what is wanted to JSON, without a look at the host. */
#ifndef CH_VMCONFIG_H
#define CH_VMCONFIG_H

#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

#define VMCONFIG_DISKS_MAX 12
#define VMCONFIG_NICS_MAX  8

struct vmconfig_how {
    bool has_landlock;
    bool opens_taps; /* Cloud Hypervisor opens the TAPs by name; else each is added with its descriptor */
};

/* Refuses with the cause what cannot be built: INVALID, or NOTSUP for a kind of network interface that there is not. */
int vmconfig_check(const struct runner_vm *vm, struct runner_error *err);

/* The whole; vm passed vmconfig_check(). */
void vmconfig_build(const struct ch *ch, const struct runner_vm *vm, const struct vmconfig_how *how, struct str *ret);

/* One network interface, for vm.add-net. */
void vmconfig_build_nic(const struct runner_vm *vm, unsigned i, struct str *ret);

#endif
