/* Disks and mounts of the guest. Everything here needs root; nothing runs concurrently with the server. */
#ifndef GUEST_DISK_H
#define GUEST_DISK_H

#include "core/util/error.h"

/* /proc, /sys and /dev of an initramfs; what is mounted already stays. */
int disk_mount_kernel(struct runner_error *err);
/* /dev/pts, /dev/shm, /run and cgroups, as far as the kernel has them. */
void disk_mount_system(void);
/* Only /run, which an init of the image's takes over as it is. */
void disk_mount_run(void);

/* Waits until the device node exists, at most that long; TIMEOUT. */
int disk_await(const char *device, int timeout_ms, struct runner_error *err);

/* Path of the block device that holds the ISO 9660 volume of that label (any case). NOTFOUND. The caller frees. */
int disk_find_iso(const char *label, char **ret, struct runner_error *err);

/* Mounts the ext4 file system of the device as the new root, moves /proc, /sys and /dev there, and empties the
 * initramfs. */
int disk_switch_root(const char *device, struct runner_error *err);

/* Grows the ext4 file system at / to the size of its device. Online; 0 as well when there is nothing to grow. */
int disk_grow_root(const char *device, struct runner_error *err);

/* Writes everything back and makes / read-only. */
void disk_detach(void);

#endif
