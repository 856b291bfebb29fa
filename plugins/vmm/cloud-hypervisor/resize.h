/* Processors and memory of a machine that runs. */
#ifndef CH_RESIZE_H
#define CH_RESIZE_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/* An operation of struct runner_vmm_ops; self is struct ch. */
int resize_machine(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);

#endif
