/* What makes a file system of names, inodes and blocks: directories, tables, maps, superblock, journal. */
#ifndef OCI_CONVERT_FINISH_H
#define OCI_CONVERT_FINISH_H

#include "plugins/storage/oci/convert-layer.h"

/* The directories' blocks, and lost+found. */
int directories_write(struct image *, struct runner_error *err);

/* The rest; path: of the file that im->blocks writes. */
int finish_disk(struct image *im, const char *path, const uint8_t uuid[16], struct convert_result *ret,
                struct runner_error *err);

#endif
