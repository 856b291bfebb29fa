#include "plugins/storage/oci/convert-tree.h"

#include <string.h>
#include <sys/random.h>

#include "core/util/str.h"
#include "plugins/storage/oci/convert-zeros.h"

#define TABLE_SIZE ((uint32_t)1 << 19)
#define NAMES_SIZE ((uint32_t)18 << 20)

int tree_init(struct tree *t, uint32_t max, struct runner_error *err)
{
    memset(t, 0, sizeof(*t));
    t->max = max + 2;
    t->nodes = zeros_map(t->max * sizeof(*t->nodes));
    t->names = zeros_map(NAMES_SIZE);
    t->table = zeros_map(TABLE_SIZE * sizeof(*t->table));
    if (t->nodes == NULL || t->names == NULL || t->table == NULL)
        return fail_errno(err, errno, "memory for names");
    (void)getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK);
    t->n = TREE_ROOT;
    t->nodes[TREE_ROOT].kind = NODE_DIR;
    t->nodes[TREE_ROOT].parent = TREE_ROOT;
    return 0;
}

void tree_done(struct tree *t)
{
    zeros_unmap(t->nodes, t->max * sizeof(*t->nodes));
    zeros_unmap(t->names, NAMES_SIZE);
    zeros_unmap(t->table, TABLE_SIZE * sizeof(*t->table));
    memset(t, 0, sizeof(*t));
}

/* The halves of a product, folded: nobody outside knows the seed, so nobody can choose names that meet. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t *slot(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
    uint64_t hash = mix(t->seed ^ dir, 0x9e3779b97f4a7c15u ^ len);

    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = 0;

        memcpy(&word, name + at, len - at < 8 ? len - at : 8);
        hash = mix(hash ^ word, t->seed | 1);
    }
    return &t->table[mix(hash, 0xd6e8feb86659fd93u) % TABLE_SIZE];
}

uint32_t tree_find(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
    uint32_t at = *slot(t, dir, name, len);

    while (at != 0) {
        const struct node *n = &t->nodes[at];

        if (n->parent == dir && n->name_len == len && memcmp(t->names + n->name, name, len) == 0)
            break;
        at = n->chain;
    }
    return at;
}

static int add_text(struct tree *t, const char *text, size_t len, uint32_t *ret, struct runner_error *err)
{
    if (len > NAMES_SIZE - t->names_len)
        return fail(err, RUNNER_E_INVALID, 0, "the image's names have more than %u MiB", NAMES_SIZE >> 20);
    memcpy(t->names + t->names_len, text, len);
    *ret = t->names_len;
    t->names_len += len;
    return 0;
}

int tree_set_target(struct tree *t, uint32_t link, const char *target, size_t len, struct runner_error *err)
{
    uint32_t end;

    if (add_text(t, target, len, &t->nodes[link].target, err) < 0 || add_text(t, "", 1, &end, err) < 0)
        return -1;
    return 0;
}

static void join_list(struct tree *t, uint32_t dir, uint32_t node)
{
    struct node *n = &t->nodes[node];

    n->prev = 0;
    n->next = t->nodes[dir].first;
    if (n->next != 0)
        t->nodes[n->next].prev = node;
    t->nodes[dir].first = node;
}

int tree_add(struct tree *t, uint32_t dir, const char *name, size_t len, uint8_t kind, uint32_t inode, uint32_t *ret,
             struct runner_error *err)
{
    uint32_t node = t->spare, text = 0, *at = slot(t, dir, name, len);
    struct node *n;

    if (node == 0 && t->n + 1 >= t->max)
        return fail(err, RUNNER_E_INVALID, 0, "the image has more than %u entries", t->max - 2);
    if (add_text(t, name, len, &text, err) < 0)
        return -1;
    if (node != 0)
        t->spare = t->nodes[node].next;
    else
        node = ++t->n;
    n = &t->nodes[node];
    *n = (struct node){
        .parent = dir, .inode = inode, .chain = *at, .name = text, .kind = kind, .name_len = (uint8_t)len};
    *at = node;
    join_list(t, dir, node);
    t->entries++;
    *ret = node;
    return 0;
}

void tree_drop(struct tree *t, uint32_t node)
{
    struct node *n = &t->nodes[node];
    uint32_t *at = slot(t, n->parent, t->names + n->name, n->name_len);

    while (*at != node)
        at = &t->nodes[*at].chain;
    *at = n->chain;
    if (n->prev != 0)
        t->nodes[n->prev].next = n->next;
    else
        t->nodes[n->parent].first = n->next;
    if (n->next != 0)
        t->nodes[n->next].prev = n->prev;
    *n = (struct node){.next = t->spare};
    t->spare = node;
    t->entries--;
}

unsigned tree_depth(const struct tree *t, uint32_t node)
{
    unsigned depth = 0;

    for (; node != TREE_ROOT; node = t->nodes[node].parent)
        depth++;
    return depth;
}

void tree_touch(struct tree *t, uint32_t node, uint16_t layer)
{
    for (; t->nodes[node].layer != layer; node = t->nodes[node].parent)
        t->nodes[node].layer = layer;
}
