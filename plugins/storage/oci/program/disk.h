/* Images to disks, and back. */
#ifndef OCI_DISK_H
#define OCI_DISK_H

#include "plugins/storage/oci/program/image.h"

/* The disk of an image that is on the host, in dir; members of the result: disk, format, disk_bytes, content_bytes,
 * image. */
int disk_make(const struct image *image, const char *dir, struct str *ret_members, struct runner_error *err);

#endif
