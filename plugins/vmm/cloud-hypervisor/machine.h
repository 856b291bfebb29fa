/* A running machine: what is asked of its Cloud Hypervisor process. */
#ifndef CH_MACHINE_H
#define CH_MACHINE_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/* These are operations of struct runner_vmm_ops; self is struct ch. */
int machine_boot(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_pause(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_resume(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                   struct runner_error *err);
int machine_counters(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_counters *ret,
                     struct runner_error *err);

#endif
