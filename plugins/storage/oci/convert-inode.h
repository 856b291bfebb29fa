/*
 * Inodes and what is in files. How many inodes a group has is known at the end only, so until then they wait in the disk's
 * file, behind the largest disk that there can be. On the disk and here all is little-endian, as on every host.
 */
#ifndef OCI_CONVERT_INODE_H
#define OCI_CONVERT_INODE_H

#include <ext2fs/ext2_fs.h>

#include "plugins/storage/oci/convert-blocks.h"
#include "plugins/storage/oci/convert-xattr.h"

#define INODE_SIZE  256u
#define INODE_ROOT  2u
#define INODE_FIRST 11u
#define LINKS_MAX   65000u
#define INODE_BATCH 64u

union inode {
    struct ext2_inode_large i;
    uint8_t raw[INODE_SIZE];
};

struct inodes {
    struct blocks *blocks;
    uint32_t seed; /* of checksums: the file system's UUID */
    uint32_t next; /* from here on none was used */
    uint32_t max;
    uint32_t *spare; /* used and free again */
    uint32_t n_spare;
    uint16_t *links;                /* names of each; 0: not in use */
    union inode batch[INODE_BATCH]; /* not written yet: n_batch from number first on */
    uint32_t first, n_batch;
};

int inodes_init(struct inodes *, struct blocks *, const uint8_t uuid[16], uint32_t max, struct runner_error *err);
void inodes_done(struct inodes *);
/* A number with one link. It must be put before it is read. */
int inodes_take(struct inodes *, uint32_t *ret, struct runner_error *err);
int inodes_put(struct inodes *, uint32_t number, const union inode *, struct runner_error *err);
int inodes_get(struct inodes *, uint32_t number, union inode *ret, struct runner_error *err);
/* n of them as they are, to be written to their places; n <= INODE_BATCH. */
int inodes_read(struct inodes *, uint32_t number, uint32_t n, union inode *ret, struct runner_error *err);
/* One name less; with the last one its blocks are free. */
int inodes_unlink(struct inodes *, uint32_t number, struct runner_error *err);

struct inode_meta {
    uint16_t mode; /* type and permissions */
    uint32_t uid, gid;
    int64_t mtime_s;
    uint32_t mtime_ns;
};
void inode_init(union inode *, const struct inode_meta *);
int inode_set_xattrs(struct inodes *, union inode *, struct xattrs *, struct runner_error *err);
void inode_free_xattrs(struct inodes *, const union inode *);
void inode_add_blocks(union inode *, uint64_t n); /* it has in use */
/* A short one is kept in the inode; 1: this one is not short, its text is content. */
int inode_set_symlink(union inode *, const char *target, size_t len);
void inode_set_device(union inode *, uint32_t major, uint32_t minor);

/* crc32c as ext4's metadata has it: of the file system, then of an inode's number and generation 0. */
uint32_t inode_seed(const struct inodes *, uint32_t number);

#endif
