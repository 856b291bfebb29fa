/*
 * The names of the image as they are after the layers so far. A node is a number; 0 is none. Content is on the disk
 * already, so this is all that grows with the image: some 50 bytes a name. One thread.
 */
#ifndef OCI_CONVERT_TREE_H
#define OCI_CONVERT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"

#define TREE_ROOT       1u
#define TREE_NAME_MAX   255u
#define TREE_FOLLOW_MAX 40 /* symbolic links on the way to an entry, as Linux has it */

/* As directories have it, EXT2_FT_*. */
enum { NODE_NONE, NODE_FILE, NODE_DIR, NODE_CHAR, NODE_BLOCK, NODE_FIFO, NODE_SOCKET, NODE_LINK };

struct node {
    uint32_t parent, inode;
    uint32_t next, prev; /* in the parent's list */
    uint32_t chain;      /* in the table of names */
    uint32_t name;       /* into names */
    union {
        uint32_t first;  /* DIR: of its list */
        uint32_t target; /* LINK: into names, NUL-terminated */
    };
    uint16_t layer; /* the last one that has it or something below it */
    uint8_t kind, name_len;
};

struct tree {
    struct node *nodes;
    uint32_t n, max, spare; /* numbers up to n were used; spare: a list by next */
    uint32_t entries;       /* in use, without the root */
    char *names;
    uint32_t names_len;
    uint32_t *table;
    uint64_t seed;
};

int tree_init(struct tree *, uint32_t max, struct runner_error *err);
void tree_done(struct tree *);
uint32_t tree_find(const struct tree *, uint32_t dir, const char *name, size_t len);
/* The name must not be there. INVALID: too many entries, or too much in names. */
int tree_add(struct tree *, uint32_t dir, const char *name, size_t len, uint8_t kind, uint32_t inode, uint32_t *ret,
             struct runner_error *err);
int tree_set_target(struct tree *, uint32_t link, const char *target, size_t len, struct runner_error *err);
/* One without children: its name is gone. */
void tree_drop(struct tree *, uint32_t node);
unsigned tree_depth(const struct tree *, uint32_t node);
/* The layer has this node, and so all above it. */
void tree_touch(struct tree *, uint32_t node, uint16_t layer);

/* Called for a directory on the way that is not there: makes it. */
typedef int tree_make_fn(void *ctx, uint32_t dir, const char *name, size_t len, uint32_t *ret,
                         struct runner_error *err);

struct place { /* where a path leads */
    uint32_t dir;
    char name[TREE_NAME_MAX + 1]; /* empty: dir itself, the root */
    uint8_t name_len;
    uint32_t node; /* what is there, or 0 */
};

/*
 * Follows a path from the root as a process would for which this tree is all there is: symbolic links on the way, not the
 * last one unless is_followed, ".." of the root is the root. In the path itself ".." is taken with the name before it, and
 * one that leads above the root is refused. make NULL: what is not there gives place.dir 0, no error.
 */
int tree_resolve(struct tree *, const char *path, bool is_followed, tree_make_fn *make, void *ctx, struct place *ret,
                 struct runner_error *err);

#endif
