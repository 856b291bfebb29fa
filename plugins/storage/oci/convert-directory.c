#include <ext2fs/ext2fs.h>
#include <string.h>
#include <sys/stat.h>

#include "plugins/storage/oci/convert-finish.h"

#define TAIL_SIZE 12u
#define TAIL_TYPE 0xde
#define ROOM      (BLOCK_SIZE - TAIL_SIZE)

struct head { /* of an entry, as it is on the disk */
    uint32_t inode;
    uint16_t length;
    uint8_t name_len, kind;
};

struct directory {
    struct image *im;
    uint32_t inode, children; /* children: those that are directories */
    uint64_t n_blocks;
    uint8_t block[BLOCK_SIZE];
    unsigned at, last; /* the end of the last entry, its begin */
};

static int close_block(struct directory *d, struct runner_error *err)
{
    struct head tail = {.length = TAIL_SIZE, .kind = TAIL_TYPE}, last;
    uint32_t crc;

    memcpy(&last, d->block + d->last, sizeof(last));
    last.length = (uint16_t)(ROOM - d->last);
    memcpy(d->block + d->last, &last, sizeof(last));
    memcpy(d->block + ROOM, &tail, sizeof(tail));
    crc = ext2fs_crc32c_le(inode_seed(&d->im->inodes, d->inode), d->block, ROOM);
    memcpy(d->block + ROOM + sizeof(tail), &crc, sizeof(crc));
    if (content_write(&d->im->content, d->n_blocks * BLOCK_SIZE, d->block, BLOCK_SIZE, err) < 0)
        return -1;
    memset(d->block, 0, sizeof(d->block));
    d->n_blocks++;
    d->at = d->last = 0;
    return 0;
}

static int add_entry(struct directory *d, uint32_t inode, uint8_t kind, const char *name, size_t len,
                     struct runner_error *err)
{
    unsigned size = (sizeof(struct head) + len + 3) & ~3u;
    struct head head = {.inode = inode, .length = (uint16_t)size, .name_len = (uint8_t)len, .kind = kind};

    if (d->at + size > ROOM && close_block(d, err) < 0)
        return -1;
    memcpy(d->block + d->at, &head, sizeof(head));
    memcpy(d->block + d->at + sizeof(head), name, len);
    d->last = d->at;
    d->at += size;
    return 0;
}

static int add_entries(struct directory *d, uint32_t node, struct runner_error *err)
{
    const struct tree *tree = &d->im->tree;
    const struct node *n = &tree->nodes[node];

    if (add_entry(d, n->inode, NODE_DIR, ".", 1, err) < 0 ||
        add_entry(d, tree->nodes[n->parent].inode, NODE_DIR, "..", 2, err) < 0)
        return -1;
    for (uint32_t at = n->first; at != 0; at = tree->nodes[at].next) {
        const struct node *child = &tree->nodes[at];

        d->children += child->kind == NODE_DIR;
        if (add_entry(d, child->inode, child->kind, tree->names + child->name, child->name_len, err) < 0)
            return -1;
    }
    return close_block(d, err);
}

static int write_directory(struct image *im, uint32_t node, struct runner_error *err)
{
    struct directory d = {.im = im, .inode = im->tree.nodes[node].inode};
    union inode inode;

    content_begin(&im->content, &im->inodes);
    if (add_entries(&d, node, err) < 0 || inodes_get(&im->inodes, d.inode, &inode, err) < 0 ||
        content_end(&im->content, d.n_blocks * BLOCK_SIZE, d.inode, &inode, err) < 0)
        return -1;
    im->inodes.links[d.inode] = d.children + 2 < LINKS_MAX ? (uint16_t)(d.children + 2) : 1; /* feature dir_nlink */
    return inodes_put(&im->inodes, d.inode, &inode, err);
}

int directories_write(struct image *im, struct runner_error *err)
{
    static const char lost[] = "lost+found"; /* e2fsck's, which makes it only where there is room */
    struct inode_meta meta = {.mode = S_IFDIR | 0700, .mtime_s = im->newest_s};
    uint32_t node;

    if (tree_find(&im->tree, TREE_ROOT, lost, strlen(lost)) == 0 &&
        image_make_dir(im, TREE_ROOT, lost, strlen(lost), &meta, &node, err) < 0)
        return -1;
    for (node = TREE_ROOT; node <= im->tree.n; node++) {
        if (im->tree.nodes[node].kind != NODE_DIR)
            continue;
        if (write_directory(im, node, err) < 0 || (node % 256 == 0 && im->tick(im->ctx, err) < 0))
            return -1;
    }
    return 0;
}
