/* Of images that sandboxes have as disks. */
#ifndef DISK_LIMITS_H
#define DISK_LIMITS_H

#include <stdint.h>

#define DISK_SIZE_MAX     (INT64_C(16) << 40) /* bytes of a guest's disk, raw ones too; an L1 table of 256 KiB */
#define QCOW2_BACKING_MAX 1023                /* bytes of the backing file's name, by the format's specification */

#endif
