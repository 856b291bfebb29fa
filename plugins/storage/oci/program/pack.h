/* Images that are disks as they are: one layer of the raw disk, by zstd, and a configuration of ours. */
#ifndef OCI_PACK_H
#define OCI_PACK_H

#include "plugins/storage/oci/program/image.h"

#define PACK_DISK_MAX (INT64_C(16) << 40) /* bytes of a disk */

/* The image of the disk that is open as fd, and was found at path; its blobs in the store. image_json: how it wants to be
 * run, an object. */
int pack_disk(int fd, const char *path, const char *image_json, const struct store *store,
              const struct manifest_limits *limits, struct image *ret, struct runner_error *err);

struct packed { /* what the configuration says */
    int64_t disk_bytes;
    char *image_json;
};
int pack_read_config(const char *config, struct packed *ret, struct runner_error *err);
/* The disk of such an image, in a new file with its holes. *ret_content_bytes: what it takes of its file system. */
int pack_unpack(const struct image *image, int64_t disk_bytes, const char *path, int64_t *ret_content_bytes,
                struct runner_error *err);

#endif
