#include "kit/fake/world.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/text.h"
#include "kit/fake/world-inner.h"

/* ---- items ---- */

struct item *world_find(struct world *w, const char *kinds, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (strchr(kinds, w->items[i]->kind) != NULL && strcmp(w->items[i]->name, name) == 0)
            return w->items[i];
    return NULL;
}

struct item *world_put(struct world *w, char kind, const char *name)
{
    struct item *item = mem_alloc(sizeof *item);

    item->kind = kind;
    item->name = mem_dup(name);
    w->items = mem_grow(w->items, w->n + 1, sizeof *w->items);
    w->items[w->n++] = item;
    return item;
}

void world_drop_at(struct world *w, size_t i)
{
    struct item *item = w->items[i];

    w->items[i] = w->items[--w->n];
    str_done(&item->data);
    free(item->name);
    free(item);
}

void world_drop(struct world *w, const struct item *item)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->items[i] == item) {
            world_drop_at(w, i);
            return;
        }
}

bool world_is_below(const char *name, const char *dir)
{
    const char *rest;

    return text_starts(name, dir, &rest) && *rest == '/';
}

bool world_has_parent(struct world *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    auto_free char *dir = mem_dup_n(path, slash != NULL ? (size_t)(slash - path) : 0);

    return !world_is_below(path, w->root) || world_find(w, "d", dir) != NULL;
}

int world_absent(struct runner_error *err, const char *path)
{
    return fail(err, RUNNER_E_NOTFOUND, 0, "'%s' is absent", path);
}

struct item *world_put_file(struct world *w, const char *path, struct runner_error *err)
{
    struct item *item = world_find(w, "fsd", path);

    if (item != NULL && item->kind != 'd')
        return item;
    if (item != NULL)
        (void)fail(err, RUNNER_E_EXISTS, 0, "'%s' is a directory", path);
    else if (!world_has_parent(w, path))
        (void)fail(err, RUNNER_E_NOTFOUND, 0, "the directory of '%s' is absent", path);
    else
        return world_put(w, 'f', path);
    return NULL;
}

void world_give(struct runner_result *result, const char *data, size_t len)
{
    result->out = fake_alloc_own(len + 1);
    result->len = len;
    if (len > 0)
        memcpy(result->out, data, len);
    result->out[len] = '\0';
}

/* ---- batches ---- */

static int do_step(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    int answered = fake_host_scripted(step, result, err);
    world_do_fn *doer;

    if (answered != 0)
        return answered < 0 ? -1 : 0;
    if (step->kind >= WORLD_STEPS || (world_file_steps[step->kind] == NULL && world_machine_steps[step->kind] == NULL))
        return fail(err, RUNNER_E_NOTSUP, 0, "step of kind %u", step->kind);
    doer = world_file_steps[step->kind] != NULL ? world_file_steps[step->kind] : world_machine_steps[step->kind];
    return doer(w, step, result, err);
}

static void undo(struct world *w, const struct runner_step *const *steps, size_t n, struct runner_error *err)
{
    while (n-- > 0) {
        struct runner_result result = {.size = sizeof result};
        struct runner_error cause = ERROR_INIT;

        if (steps[n]->undo != NULL && do_step(w, steps[n]->undo, &result, &cause) < 0)
            error_append(err, "not undone: %s", cause.message);
        fake_release(result.out);
    }
}

static int world_run(void *self, struct runner_call *call, const struct runner_step *const *steps, size_t n,
                     struct runner_result *results, struct runner_error *err)
{
    struct world *w = self;
    int status = 0;

    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < n && status == 0; i++) {
        int code;

        results[i].size = sizeof results[i];
        if ((steps[i]->flags & RUNNER_S_ELSE) && i > 0 && results[i - 1].status == 0)
            continue;
        code = fake_gate(FAKE_STEP, call, steps[i]);
        status = code != 0 ? fake_gate_fail(code, "step", err) : do_step(w, steps[i], &results[i], err);
        if (status < 0)
            undo(w, steps, i, err);
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

const struct runner_transport_ops *world_ops(void)
{
    static const struct runner_transport_ops ops = {.run = world_run};

    return &ops;
}

/* ---- what the tests call ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct world *world_new(const char *root)
{
    struct world *w = mem_alloc(sizeof *w);

    pthread_mutex_init(&w->lock, NULL);
    w->root = mem_dup(root);
    (void)world_put(w, 'd', root);
    return w;
}

void world_free(struct world *w)
{
    if (w == NULL)
        return;
    while (w->n > 0)
        world_drop_at(w, w->n - 1);
    free(w->items);
    free(w->root);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void world_add_dir(struct world *w, const char *path)
{
    (void)world_put(w, 'd', path);
}

void world_add_file(struct world *w, const char *path, int64_t size_bytes)
{
    world_put(w, 'f', path)->size = size_bytes;
}

int64_t world_file_size(struct world *w, const char *path)
{
    struct item *item = world_find(w, "f", path);

    return item != NULL ? item->size : -1;
}

char *world_text(struct world *w, const char *kinds)
{
    auto_free char **lines = mem_array(w->n + 1, sizeof *lines);
    struct str text = STR_INIT;
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++)
        if (strchr(kinds, w->items[i]->kind) != NULL)
            lines[n++] = mem_printf("%c %s", w->items[i]->kind, w->items[i]->name);
    qsort(lines, n, sizeof *lines, compare_names);
    for (size_t i = 0; i < n; i++) {
        str_addf(&text, "%s\n", lines[i]);
        free(lines[i]);
    }
    return str_steal(&text);
}
