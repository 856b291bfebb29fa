/* Steps on files, in the world. */
#include <string.h>

#include "core/util/error.h"
#include "kit/fake/world-inner.h"

enum { DATA_MAX = 1 << 20 }; /* bytes of a file that are kept */

static int do_mkdir(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    struct item *item = world_find(w, "fsd", step->path);
    const char *slash;

    (void)result;
    if (item != NULL)
        return item->kind == 'd' && !(step->flags & RUNNER_S_EXCL)
                   ? 0
                   : fail(err, RUNNER_E_EXISTS, 0, "'%s' is there", step->path);
    for (slash = step->path; (step->flags & RUNNER_S_PARENTS) && (slash = strchr(slash + 1, '/')) != NULL;) {
        auto_free char *dir = mem_dup_n(step->path, (size_t)(slash - step->path));
        if (world_is_below(dir, w->root) && world_find(w, "d", dir) == NULL)
            (void)world_put(w, 'd', dir);
    }
    if (!world_has_parent(w, step->path))
        return world_absent(err, step->path);
    (void)world_put(w, 'd', step->path);
    return 0;
}

static void keep_data(struct item *item, const void *data, size_t len, int64_t at)
{
    if (at == (int64_t)item->data.len && item->data.len + len <= DATA_MAX)
        str_add_mem(&item->data, data, len);
    else if (at + (int64_t)len <= (int64_t)item->data.len)
        memcpy(item->data.ptr + at, data, len);
    if (at + (int64_t)len > item->size)
        item->size = at + (int64_t)len;
}

static int do_write(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    struct item *item;

    (void)result;
    if ((step->flags & RUNNER_S_EXCL) && world_find(w, "fsd", step->path) != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "'%s' is there", step->path);
    item = world_put_file(w, step->path, err);
    if (item == NULL)
        return -1;
    str_clear(&item->data);
    item->size = 0;
    keep_data(item, step->data, step->len, 0);
    return 0;
}

static int do_patch(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    struct item *item = world_find(w, "f", step->path);

    (void)result;
    if (item == NULL)
        return world_absent(err, step->path);
    keep_data(item, step->data, step->len, step->number);
    return 0;
}

/* With the hole at its end, of which no data is kept. */
static void give_head(const struct item *item, int64_t bytes, struct runner_result *result)
{
    size_t len = (size_t)(item->size < bytes ? item->size : bytes);
    auto_free char *head = mem_array(len, 1);

    memcpy(head, str_text(&item->data), item->data.len < len ? item->data.len : len);
    world_give(result, head, len);
}

static int do_read(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    struct item *item = world_find(w, "f", step->path);

    if (item == NULL && (world_is_below(step->path, "/proc") || world_is_below(step->path, "/sys"))) {
        world_give(result, "\n", 1);
        return 0;
    }
    if (item == NULL && (step->flags & RUNNER_S_OPTIONAL)) {
        result->status = 1;
        return 0;
    }
    if (item == NULL)
        return world_absent(err, step->path);
    if (item->size > step->number && !(step->flags & (RUNNER_S_TAIL | RUNNER_S_HEAD)))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is larger than %lld bytes", step->path, (long long)step->number);
    if (step->flags & (RUNNER_S_TAIL | RUNNER_S_HEAD))
        result->number = item->size;
    if (step->flags & RUNNER_S_HEAD)
        give_head(item, step->number, result);
    else if ((int64_t)item->data.len > step->number)
        world_give(result, item->data.ptr + item->data.len - step->number, (size_t)step->number);
    else
        world_give(result, item->data.ptr, item->data.len);
    return 0;
}

static int do_clone(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    struct item *from = world_find(w, "f", step->path), *to;

    (void)result;
    if (from == NULL)
        return world_absent(err, step->path);
    if (world_find(w, "fsd", step->to) != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "'%s' is there", step->to);
    to = world_put_file(w, step->to, err);
    if (to == NULL)
        return -1;
    str_add_mem(&to->data, from->data.ptr, from->data.len);
    to->size = from->size;
    return 0;
}

static int do_grow(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    struct item *item = world_put_file(w, step->path, err);

    (void)result;
    if (item == NULL)
        return -1;
    if (item->size > step->number)
        return fail(err, RUNNER_E_INVALID, 0, "'%s' would shrink", step->path);
    item->size = step->number;
    return 0;
}

static void drop_below(struct world *w, const char *path)
{
    for (size_t i = 0; i < w->n;)
        if (strchr("fsd", w->items[i]->kind) != NULL && world_is_below(w->items[i]->name, path))
            world_drop_at(w, i);
        else
            i++;
}

static bool has_below(const struct world *w, const char *path)
{
    for (size_t i = 0; i < w->n; i++)
        if (strchr("fsd", w->items[i]->kind) != NULL && world_is_below(w->items[i]->name, path))
            return true;
    return false;
}

static int do_rename(struct world *w, const struct runner_step *step, struct runner_result *result,
                     struct runner_error *err)
{
    struct item *item = world_find(w, "fsd", step->path), *over;

    result->status = item == NULL && (step->flags & RUNNER_S_OPTIONAL);
    if (item == NULL)
        return result->status == 1 ? 0 : world_absent(err, step->path);
    if (!world_has_parent(w, step->to))
        return world_absent(err, step->to);
    over = world_find(w, "fs", step->to);
    if (over != NULL && over != item)
        world_drop(w, over);
    for (size_t i = 0; i < w->n; i++) {
        struct item *inner = w->items[i];
        char *name;

        if (inner != item && !world_is_below(inner->name, step->path))
            continue;
        name = mem_printf("%s%s", step->to, inner->name + strlen(step->path));
        free(inner->name);
        inner->name = name;
    }
    return 0;
}

static int do_remove(struct world *w, const struct runner_step *step, struct runner_result *result,
                     struct runner_error *err)
{
    struct item *item = world_find(w, "fsd", step->path);

    if (item == NULL)
        return 0;
    if (item->kind == 'd' && (step->flags & RUNNER_S_EXCL) && has_below(w, step->path)) {
        result->status = 1;
        return 0;
    }
    if (item->kind == 'd' && !(step->flags & (RUNNER_S_TREE | RUNNER_S_EXCL)))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is a directory", step->path);
    drop_below(w, step->path);
    world_drop(w, item);
    return 0;
}

static int do_stat(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    struct item *item = world_find(w, "fsd", step->path);

    (void)err;
    result->status = item == NULL && strcmp(step->path, w->root) != 0 && strcmp(step->path, "/dev/net/tun") != 0;
    result->number = item != NULL ? item->size : 0;
    result->number2 = 1;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int do_list(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    auto_free const char **names = mem_array(w->n + 1, sizeof *names);
    auto_str struct str out = STR_INIT;
    size_t n = 0;

    if (world_find(w, "d", step->path) == NULL && (step->flags & RUNNER_S_OPTIONAL)) {
        result->status = 1;
        return 0;
    }
    if (world_find(w, "d", step->path) == NULL)
        return world_absent(err, step->path);
    for (size_t i = 0; i < w->n; i++) {
        const char *name = w->items[i]->name;
        if (strchr("fsd", w->items[i]->kind) != NULL && world_is_below(name, step->path) &&
            strchr(name + strlen(step->path) + 1, '/') == NULL)
            names[n++] = name + strlen(step->path) + 1;
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++)
        str_add_mem(&out, names[i], strlen(names[i]) + 1);
    world_give(result, out.ptr, out.len);
    return 0;
}

static int do_statfs(struct world *w, const struct runner_step *step, struct runner_result *result,
                     struct runner_error *err)
{
    (void)w, (void)step, (void)err;
    result->number = INT64_C(1) << 39;
    result->number2 = INT64_C(1) << 40;
    return 0;
}

static int do_own(struct world *w, const struct runner_step *step, struct runner_result *result,
                  struct runner_error *err)
{
    (void)result;
    if (world_find(w, "fsd", step->path) == NULL && world_is_below(step->path, w->root))
        return world_absent(err, step->path);
    return 0;
}

world_do_fn *const world_file_steps[WORLD_STEPS] = {
    [RUNNER_MKDIR] = do_mkdir,   [RUNNER_WRITE] = do_write, [RUNNER_READ] = do_read,
    [RUNNER_CLONE] = do_clone,   [RUNNER_GROW] = do_grow,   [RUNNER_RENAME] = do_rename,
    [RUNNER_REMOVE] = do_remove, [RUNNER_STAT] = do_stat,   [RUNNER_LIST] = do_list,
    [RUNNER_STATFS] = do_statfs, [RUNNER_PATCH] = do_patch, [RUNNER_OWN] = do_own,
};
