#include <limits.h>
#include <string.h>

#include "plugins/storage/oci/convert-tree.h"

#include "core/util/str.h"

struct walk {
    struct tree *tree;
    tree_make_fn *make;
    void *ctx;
    char path[2 * PATH_MAX]; /* what is still to go: begins at at */
    size_t at;
    int follows;
    uint32_t dir;
};

static bool take_name(const char **path, const char **ret_name, size_t *ret_len)
{
    *path += strspn(*path, "/");
    *ret_name = *path;
    *ret_len = strcspn(*path, "/");
    *path += *ret_len;
    return *ret_len > 0;
}

/* "a//./b/../c" becomes "a/c". */
static int clean(const char *path, char *to, size_t *ret_len, struct runner_error *err)
{
    const char *name;
    size_t len, at = 0;

    while (take_name(&path, &name, &len)) {
        if (len == 1 && name[0] == '.')
            continue;
        if (len == 2 && memcmp(name, "..", 2) == 0) {
            if (at == 0)
                return fail(err, RUNNER_E_INVALID, 0, "it leads out of the image");
            while (at > 0 && to[--at] != '/')
                ;
            continue;
        }
        if (len > TREE_NAME_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "a name in it has more than %u bytes", TREE_NAME_MAX);
        if (at + len + 2 > PATH_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "it has more than %d bytes", PATH_MAX);
        if (at > 0)
            to[at++] = '/';
        memcpy(to + at, name, len);
        at += len;
    }
    to[at] = '\0';
    *ret_len = at;
    return 0;
}

/* The link's target takes the link's place before what is still to go. */
static int follow(struct walk *w, uint32_t link, struct runner_error *err)
{
    const char *target = w->tree->names + w->tree->nodes[link].target;
    size_t len = strlen(target), rest = strlen(w->path + w->at);

    if (++w->follows > TREE_FOLLOW_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d symbolic links lead to it", TREE_FOLLOW_MAX);
    if (len + 1 + rest + 1 > sizeof(w->path))
        return fail(err, RUNNER_E_INVALID, 0, "symbolic links make its path too long");
    memmove(w->path + len + 1, w->path + w->at, rest + 1);
    memcpy(w->path, target, len);
    w->path[len] = '/';
    w->at = 0;
    if (target[0] == '/')
        w->dir = TREE_ROOT;
    return 0;
}

/* One directory further: 0, 1: there is none. */
static int step(struct walk *w, const char *name, size_t len, struct runner_error *err)
{
    uint32_t node;

    if (len == 1 && name[0] == '.')
        return 0;
    if (len == 2 && memcmp(name, "..", 2) == 0) {
        w->dir = w->tree->nodes[w->dir].parent;
        return 0;
    }
    if (len > TREE_NAME_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "a symbolic link on its way has a name of more than %u bytes",
                    TREE_NAME_MAX);
    node = tree_find(w->tree, w->dir, name, len);
    if (node != 0 && w->tree->nodes[node].kind == NODE_LINK)
        return follow(w, node, err);
    if (node == 0 && w->make == NULL)
        return 1;
    if (node == 0 && w->make(w->ctx, w->dir, name, len, &node, err) < 0)
        return -1;
    if (w->tree->nodes[node].kind != NODE_DIR) {
        if (w->make == NULL)
            return 1;
        return fail(err, RUNNER_E_INVALID, 0, "'%.*s' on its way is no directory", (int)len, name);
    }
    w->dir = node;
    return 0;
}

/* The last name of the path, which is not empty. 1: it was a link, there is more to go. */
static int arrive(struct walk *w, const char *name, size_t len, bool is_followed, struct place *ret,
                  struct runner_error *err)
{
    uint32_t node;
    bool is_dots = (len == 1 && name[0] == '.') || (len == 2 && memcmp(name, "..", 2) == 0);

    if (is_dots) { /* the end of a link's target */
        (void)step(w, name, len, err);
        ret->node = ret->dir = w->dir;
        return 0;
    }
    if (len > TREE_NAME_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "a symbolic link on its way has a name of more than %u bytes",
                    TREE_NAME_MAX);
    node = tree_find(w->tree, w->dir, name, len);
    if (is_followed && node != 0 && w->tree->nodes[node].kind == NODE_LINK)
        return follow(w, node, err) < 0 ? -1 : 1;
    ret->dir = w->dir;
    ret->node = node;
    ret->name_len = (uint8_t)len;
    memcpy(ret->name, name, len);
    ret->name[len] = '\0';
    return 0;
}

int tree_resolve(struct tree *tree, const char *path, bool is_followed, tree_make_fn *make, void *ctx,
                 struct place *ret, struct runner_error *err)
{
    struct walk w;
    const char *name;
    size_t len;
    int status;

    w.tree = tree, w.make = make, w.ctx = ctx;
    w.at = 0, w.follows = 0, w.dir = TREE_ROOT;
    ret->name_len = 0;
    if (clean(path, w.path, &len, err) < 0)
        return -1;
    for (;;) {
        const char *rest = w.path + w.at;
        const char *next;
        bool is_last;

        if (!take_name(&rest, &name, &len)) { /* only the root has no name; or a link's target ended in slashes */
            ret->dir = ret->node = w.dir;
            return 0;
        }
        next = rest + strspn(rest, "/");
        is_last = *next == '\0';
        w.at = rest - w.path;
        status = is_last ? arrive(&w, name, len, is_followed, ret, err) : step(&w, name, len, err);
        if (status < 0)
            return -1;
        if (is_last && status == 0)
            return 0;
        if (!is_last && status == 1) {
            ret->dir = ret->node = 0;
            return 0;
        }
    }
}
