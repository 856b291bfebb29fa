/* What makes a file system of names, inodes and blocks: volumes, directories, tables, maps, superblock, journal. */
#ifndef OCI_CONVERT_FINISH_H
#define OCI_CONVERT_FINISH_H

#include "plugins/storage/oci/convert-layer.h"

/* Directories at these paths, where nothing is: links on the way lead to places in the image, as for a process in it. */
int volumes_make(struct image *, char *const *paths, size_t n, struct runner_error *err);

/* The directories' blocks, and lost+found. */
int directories_write(struct image *, struct runner_error *err);

/* The rest; path: of the file that im->blocks writes. */
int finish_disk(struct image *im, const char *path, const uint8_t uuid[16], struct convert_result *ret,
                struct runner_error *err);

#endif
