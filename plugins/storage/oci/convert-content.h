/* What is in a file, as extents. It arrives piece by piece, in rising order, of one file at a time. */
#ifndef OCI_CONVERT_CONTENT_H
#define OCI_CONVERT_CONTENT_H

#include "plugins/storage/oci/convert-inode.h"

struct content {
    struct inodes *inodes;
    struct ext3_extent *v;
    size_t n, cap;
    uint64_t end, n_blocks; /* bytes up to here, blocks in use */
};

/* Empty; what an earlier one grew to is used again. */
void content_begin(struct content *, struct inodes *);
int content_write(struct content *, uint64_t offset, const void *data, size_t len, struct runner_error *err);
/* Puts it into the inode of this number. */
int content_end(struct content *, uint64_t size, uint32_t number, union inode *, struct runner_error *err);
void content_done(struct content *);

/* Gives back all blocks below the root of a tree of extents, i_block of an inode. */
int content_free(struct inodes *, const void *root, struct runner_error *err);

#endif
