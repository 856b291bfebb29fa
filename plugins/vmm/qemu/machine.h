/* A running machine, spoken to over its QMP socket. Each function opens a conversation of its own and closes it. */
#ifndef QEMU_MACHINE_H
#define QEMU_MACHINE_H

#include "plugins/vmm/qemu/qemu.h"

/* These are operations of struct runner_vmm_ops; self is struct qemu. */
int machine_boot(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_pause(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_resume(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err);
int machine_status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                   struct runner_error *err);

#endif
