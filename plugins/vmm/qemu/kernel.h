/* The kernel that sandboxes boot, for the probe of an accelerator: the configured one, or that of a snapshot. */
#ifndef QEMU_KERNEL_H
#define QEMU_KERNEL_H

#include "plugins/vmm/qemu/qemu.h"

struct kernel {
    char *path, *initramfs; /* NULL: there is none (yet) */
};
void kernel_done(struct kernel *kernel);

/*
 * A snapshot counts when its manifest says that the init of its initramfs is runner-guestd, which knows runner.probe. Of
 * several the first by name, among the first KERNEL_SNAPSHOTS_MAX. None: fine, path is NULL. Blocks for two batches.
 */
#define KERNEL_SNAPSHOTS_MAX 16
int kernel_find(struct qemu *self, struct runner_call *call, struct kernel *ret, struct runner_error *err);

#endif
