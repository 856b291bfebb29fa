#include "t/run/plugin-host.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "kit/fake/host.h"

struct runner_host *host_table(void)
{
    return fake_host();
}

int64_t host_live(void)
{
    return (int64_t)fake_host_live();
}

struct runner_call *host_call(int64_t ms, int cancel_fd)
{
    fake_host_deadline(ms);
    fake_host_cancel_fd(cancel_fd);
    return fake_call();
}

void host_transport(const struct runner_plugin *plugin, void *self)
{
    fake_host_transport(plugin->ops, self);
}

int host_run_batch(struct runner_batch *batch, struct runner_error *err)
{
    return fake_host_run_batch(batch, err);
}

void host_undo_batch(struct runner_batch *batch)
{
    auto_str struct str faults = STR_INIT;

    fake_host_undo_batch(batch, &faults);
    if (faults.len > 0)
        tap_note("not undone: %s", str_text(&faults));
}

/* ---- plugins -------------------------------------------------------------------------------------------------- */

const struct runner_plugin *host_load(const char *name)
{
    const char *top = getenv("top_builddir");
    auto_free char *path = mem_printf("%s/plugins/%s.so", top != NULL ? top : ".", name);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct runner_plugin *(*get)(void);
    struct runner_error err = ERROR_INIT;
    const struct runner_plugin *plugin;

    if (object == NULL)
        tap_bail_out("%s: %s", path, dlerror());
    *(void **)&get = dlsym(object, "runner_plugin_1");
    if (get == NULL)
        tap_bail_out("%s: exports no runner_plugin_1", path);
    plugin = get();
    if (plugin->load != NULL && plugin->load(fake_host(), &err) < 0)
        tap_bail_out("%s: %s", path, err.message);
    return plugin;
}

static struct runner_value make_value(const struct runner_param *param, const char *text)
{
    struct runner_value v = {.name = param->name, .text = text};

    switch (param->type) {
    case RUNNER_T_INT:
        (void)num_int(text, INT64_MIN, INT64_MAX, &v.number);
        break;
    case RUNNER_T_BOOL:
        (void)num_bool(text, &v.number);
        break;
    case RUNNER_T_BYTES:
        (void)num_bytes(text, &v.number);
        break;
    case RUNNER_T_MSEC:
        (void)num_msec(text, &v.number);
        break;
    }
    return v;
}

static const char *given(va_list args, const char *name)
{
    const char *key, *found = NULL;

    while ((key = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        if (strcmp(key, name) == 0)
            found = value;
    }
    return found;
}

void *host_create(const struct runner_plugin *plugin, ...)
{
    static struct runner_value values[64]; /* as texts are: valid until destroy() */
    static size_t used;
    size_t start = used;
    struct runner_error err = ERROR_INIT;
    void *self = NULL;

    for (uint32_t i = 0; i < plugin->n_params && used < ARRAY_LEN(values); i++) {
        va_list args;
        const char *text;

        va_start(args, plugin);
        text = given(args, plugin->params[i].name);
        va_end(args);
        if (text == NULL)
            text = plugin->params[i].dflt;
        if (text != NULL)
            values[used++] = make_value(&plugin->params[i], text);
    }
    if (plugin->create(values + start, used - start, &self, &err) < 0)
        tap_bail_out("%s: %s", plugin->name, err.message);
    return self;
}
