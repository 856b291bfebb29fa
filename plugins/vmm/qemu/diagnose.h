/* What works of QEMU on a host, for runner-ch doctor. */
#ifndef QEMU_DIAGNOSE_H
#define QEMU_DIAGNOSE_H

#include "plugins/vmm/qemu/qemu.h"

/* runner_plugin.diagnose. Blocks as long as accel_try(). */
int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err);

#endif
