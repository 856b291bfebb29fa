#include "plugins/storage/oci/convert-layer.h"

int image_remove(struct image *im, uint32_t node, struct runner_error *err)
{
    struct tree *tree = &im->tree;
    uint32_t at = node, parent;

    do {
        while (tree->nodes[at].kind == NODE_DIR && tree->nodes[at].first != 0)
            at = tree->nodes[at].first;
        parent = tree->nodes[at].parent;
        if (inodes_unlink(&im->inodes, tree->nodes[at].inode, err) < 0)
            return -1;
        tree_drop(tree, at);
        if (at == node)
            break;
        at = parent;
    } while (true);
    return 0;
}

int image_remove_lower_children(struct image *im, uint32_t dir, struct runner_error *err)
{
    uint32_t next;

    for (uint32_t at = im->tree.nodes[dir].first; at != 0; at = next) {
        next = im->tree.nodes[at].next;
        if (image_remove_lower(im, at, err) < 0)
            return -1;
    }
    return 0;
}

int image_remove_lower(struct image *im, uint32_t node, struct runner_error *err)
{
    const struct node *n = &im->tree.nodes[node];

    if (n->layer != im->layer)
        return image_remove(im, node, err);
    return n->kind == NODE_DIR ? image_remove_lower_children(im, node, err) : 0;
}
