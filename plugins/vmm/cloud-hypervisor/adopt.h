/* Machines that another program started. */
#ifndef CH_ADOPT_H
#define CH_ADOPT_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/* runner_vmm_ops.adopt */
int adopt_machine(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_machine *ret_machine,
                  struct runner_vm_status *ret_status, struct runner_error *err);

#endif
