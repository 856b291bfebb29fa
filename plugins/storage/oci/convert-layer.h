/* One layer after another becomes names, inodes and blocks. One thread. */
#ifndef OCI_CONVERT_LAYER_H
#define OCI_CONVERT_LAYER_H

#include "plugins/storage/oci/convert-content.h"
#include "plugins/storage/oci/convert-stream.h"
#include "plugins/storage/oci/convert-tree.h"

struct image {
    struct blocks blocks;
    struct inodes inodes;
    struct tree tree;
    struct content content;
    const struct convert_bounds *bounds;              /* none is 0 */
    uint16_t layer;                                   /* from 1 on */
    uint32_t seen;                                    /* entries of all layers */
    int64_t now_s, newest_s;                          /* the clock; mtime of any entry up to that */
    int (*tick)(void *ctx, struct runner_error *err); /* now and then; -1: give up */
    void *ctx;
};

/* The stream's current layer, to its end. */
int layer_apply(struct image *, struct stream *, struct runner_error *err);

/* A new directory in dir. */
int image_make_dir(struct image *, uint32_t dir, const char *name, size_t len, const struct inode_meta *, uint32_t *ret,
                   struct runner_error *err);
/* The node, what is below it, and what of it no other name has. */
int image_remove(struct image *, uint32_t node, struct runner_error *err);
/* Of a node, or of all below it, what no entry of the current layer made or passed. */
int image_remove_lower(struct image *, uint32_t node, struct runner_error *err);
int image_remove_lower_children(struct image *, uint32_t dir, struct runner_error *err);

#endif
