/* The kernel that sandboxes boot, for a probe: the configured one, or that of a snapshot. */
#ifndef VMM_COMMON_KERNEL_H
#define VMM_COMMON_KERNEL_H

#include "include/runner-plugin.h"

struct kernel {
    char *path, *initramfs; /* NULL: there is none (yet) */
};
void kernel_done(struct kernel *kernel);

/*
 * A snapshot counts when its manifest says that the init of its initramfs is runner-guestd, which knows runner.probe.
 * Of several the first by name, among the first KERNEL_SNAPSHOTS_MAX. None: fine, path is NULL. configured and its
 * initramfs are used instead when not NULL. Blocks for two batches.
 */
#define KERNEL_SNAPSHOTS_MAX 16
int kernel_find(const struct runner_host *host, struct runner_call *call, const char *configured, const char *initramfs,
                struct kernel *ret, struct runner_error *err);

#endif
