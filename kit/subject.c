#include "kit/subject.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/plugin-check.h"
#include "core/util/text.h"
#include "core/value.h"
#include "kit/fake/host.h"
#include "kit/point.h"

enum { FLAWS_SHOWN = 8, BASE_BYTES = 3 << 20 };

/* ---- what a point says ---- */

static int n_flaws;

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
    auto_str struct str line = STR_INIT, shown = STR_INIT;

    str_addv(&line, format, args);
    text_add_escaped(&shown, line.ptr, line.len);
    puts(str_text(&shown));
}

void flaw(const char *format, ...)
{
    va_list args;

    if (__atomic_add_fetch(&n_flaws, 1, __ATOMIC_RELAXED) > FLAWS_SHOWN) /* calls at once */
        return;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

int flaws_so_far(void)
{
    return n_flaws;
}

void skip_point(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    fflush(stdout);
    _exit(POINT_SKIPPED);
}

void stop_point(const char *format, ...)
{
    va_list args;

    n_flaws++;
    va_start(args, format);
    say(format, args);
    va_end(args);
    end_point();
}

void end_point(void)
{
    if (n_flaws > FLAWS_SHOWN)
        printf("and %d more like these\n", n_flaws - FLAWS_SHOWN);
    fflush(stdout);
    _exit(n_flaws > 0 ? POINT_FAILED : POINT_PASSED);
}

/* ---- the object ---- */

static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    size_t len = strlen(base);

    return mem_dup_n(base, len > 3 && strcmp(base + len - 3, ".so") == 0 ? len - 3 : len);
}

int subject_open(const struct options *options, struct plugin *ret, struct runner_error *err)
{
    auto_free char *name = name_of(options->path), *path = realpath(options->path, NULL);
    const struct runner_plugin *(*describe)(void), *found;
    void *object;

    if (path == NULL)
        return fail_errno(err, errno, "plugin '%s'", options->path);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "%s", dlerror());
    *(void **)&describe = dlsym(object, "runner_plugin_1");
    if (describe == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "'%s' exports no runner_plugin_1", options->path);
    found = describe();
    if (found == NULL || found->magic != RUNNER_MAGIC || loader_kind_name(found->kind) == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "'%s': no descriptor, a wrong magic or an unknown kind", options->path);
    ret->path = mem_dup(path);
    return plugin_copy(found, options->path, options->kind != 0 ? options->kind : found->kind, name, ret, err);
}

/* ---- values ---- */

void subject_values_free(struct runner_value *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)values[i].text);
    free(values);
}

static const struct runner_param *param_of(const struct plugin *plugin, const char *pair)
{
    size_t len = strcspn(pair, "=");

    for (uint32_t i = 0; i < plugin->desc.n_params; i++)
        if (strlen(plugin->params[i].name) == len && strncmp(plugin->params[i].name, pair, len) == 0)
            return &plugin->params[i];
    return NULL;
}

static int add_value(const struct runner_param *param, const char *root, const char *text, struct runner_value **values,
                     size_t *n, struct runner_error *err)
{
    auto_str struct str expected = STR_INIT;
    struct runner_value value;

    if (!value_parse(param, root, text, &value)) {
        value_expected(param, true, &expected);
        return fail(err, RUNNER_E_INVALID, 0, "%s: expected %s, found '%s'", param->name, str_text(&expected), text);
    }
    *values = mem_grow(*values, *n + 1, sizeof **values);
    (*values)[(*n)++] = value;
    return 0;
}

/* Those given, else the default, else the word by which a secret is known again. */
static int add_values_of(const struct runner_param *param, char *const *pairs, size_t n_pairs, const char *root,
                         struct runner_value **values, size_t *n, struct runner_error *err)
{
    size_t len = strlen(param->name), before = *n;

    for (size_t i = 0; i < n_pairs; i++)
        if (strncmp(pairs[i], param->name, len) == 0 && pairs[i][len] == '=' &&
            add_value(param, root, pairs[i] + len + 1, values, n, err) < 0)
            return -1;
    if (*n > before)
        return 0;
    if (param->dflt != NULL)
        return add_value(param, root, param->dflt, values, n, err);
    if ((param->flags & RUNNER_P_SECRET) && param->type == RUNNER_T_STRING && param->choices == NULL)
        return add_value(param, root, SUBJECT_SECRET, values, n, err);
    return 0;
}

int subject_values(const struct plugin *plugin, char *const *pairs, size_t n_pairs, const char *root,
                   struct runner_value **ret, size_t *ret_n, struct runner_error *err)
{
    *ret = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < n_pairs; i++)
        if (strchr(pairs[i], '=') == NULL || param_of(plugin, pairs[i]) == NULL)
            return fail(err, RUNNER_E_INVALID, 0, "'%s': no key=value of a parameter that the plugin has", pairs[i]);
    for (uint32_t i = 0; i < plugin->desc.n_params; i++)
        if (add_values_of(&plugin->params[i], pairs, n_pairs, root, ret, ret_n, err) < 0) {
            subject_values_free(*ret, *ret_n);
            *ret = NULL;
            return -1;
        }
    return 0;
}

/* ---- a point's surroundings ---- */

static void add_answers(const struct options *options)
{
    static const struct {
        const char *name;
        uint32_t kind;
    } kinds[] = {{"RUN:", RUNNER_RUN}, {"READ:", RUNNER_READ}, {"STAT:", RUNNER_STAT}, {"LIST:", RUNNER_LIST}};

    for (size_t i = 0; i < options->n_answers; i++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            const char *match, *colon;
            auto_free char *word = NULL;

            if (!text_starts(options->answers[i], kinds[k].name, &match) || (colon = strchr(match, '=')) == NULL)
                continue;
            word = mem_dup_n(match, (size_t)(colon - match));
            fake_host_answer_always(kinds[k].kind, word, 0, 0, colon + 1);
        }
}

/* The same directories in the world, and for real: a planner that writes into one shall be able to, and be seen. */
static void make_world(struct subject *s)
{
    static const char *const dirs[] = {"root", "run", "sandboxes", "sandboxes/sb1", "snapshots", "snapshots/base"};

    world_free(s->world);
    s->world = world_new(s->dir);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        auto_free char *path = mem_printf("%s/%s", s->dir, dirs[i]);
        world_add_dir(s->world, path);
        (void)mkdir(path, 0700);
    }
    world_add_file(s->world, s->base_path, BASE_BYTES);
    fake_host_transport(world_ops(), s->world);
}

void subject_begin(struct subject *s, const struct options *options, const struct plugin *plugin, const char *dir)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *root = mem_printf("%s/root", dir);

    *s = (struct subject){.options = options, .plugin = plugin, .dir = dir};
    if (plugin == NULL)
        return; /* it is to be opened only now */
    s->sandbox_dir = mem_printf("%s/sandboxes/sb1", dir);
    s->base_path = mem_printf("%s/snapshots/base/disk.raw", dir);
    fake_host_reset();
    fake_host_root(root);
    add_answers(options);
    make_world(s);
    if (subject_values(plugin, options->pairs, options->n_pairs, root, &s->values, &s->n_values, &err) < 0)
        stop_point("%s", err.message);
    if (plugin->desc.load != NULL && plugin->desc.load(fake_host(), &err) != 0)
        stop_point("load: %s", err.message);
}

int subject_create(struct subject *s, struct runner_error *err)
{
    s->self = NULL;
    return s->plugin->desc.create(s->values, s->n_values, &s->self, err);
}

void subject_destroy(struct subject *s)
{
    if (s->self != NULL)
        s->plugin->desc.destroy(s->self);
    s->self = NULL;
}

void subject_renew(struct subject *s)
{
    struct runner_error err = ERROR_INIT;

    subject_destroy(s);
    make_world(s);
    fake_host_forget();
    if (subject_create(s, &err) != 0)
        stop_point("create: %s", err.message);
    if (s->self == NULL)
        stop_point("create: succeeds without an instance");
}
