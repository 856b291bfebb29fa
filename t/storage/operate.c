/*
 * operate OPERATION REQUEST [KEY=VALUE]...: one operation of a storage by way of transport/local, as core would call it.
 * REQUEST is JSON: root, plugin ("storage/oci"), from, to {ref, server, username, password}, dir, path, format, image,
 * deadline_ms. A byte on standard input cancels. KEY=VALUE are parameters of the plugin. Prints what came of it as one JSON
 * object, and before it a line "progress PHASE" at the beginning of each phase, for who wants to cancel there.
 */
#include <stdio.h>
#include <string.h>

#include "core/loader.h"
#include "core/util/json.h"
#include "core/value.h"
#include "kit/fake/host.h"
#include "t/run/plugin-host.h"

#define VALUES_MAX 64

static const struct runner_plugin *plugin;
static char phase[64];

static void *make_instance(const char *root, char **pairs, int n)
{
    static struct runner_value values[VALUES_MAX];
    struct runner_error err = ERROR_INIT;
    size_t n_values = 0;
    void *self = NULL;

    for (uint32_t p = 0; p < plugin->n_params; p++) {
        const struct runner_param *param = &plugin->params[p];
        size_t before = n_values, len = strlen(param->name);

        for (int i = 0; i < n && n_values < VALUES_MAX; i++)
            if (strncmp(pairs[i], param->name, len) == 0 && pairs[i][len] == '=' &&
                !value_parse(param, root, pairs[i] + len + 1, &values[n_values++]))
                tap_bail_out("%s: no such value", pairs[i]);
        if (n_values == before && param->dflt != NULL && n_values < VALUES_MAX)
            (void)value_parse(param, root, param->dflt, &values[n_values++]);
    }
    if (plugin->create(values, n_values, &self, &err) < 0)
        tap_bail_out("create: %s", err.message);
    return self;
}

static const struct runner_object *object_of(const struct json *j, struct runner_object *ret)
{
    *ret = (struct runner_object){.size = sizeof *ret,
                                  .ref = json_text(j, "ref", NULL),
                                  .server = json_text(j, "server", NULL),
                                  .username = json_text(j, "username", NULL),
                                  .password = json_text(j, "password", NULL)};
    return j != NULL ? ret : NULL;
}

static void on_progress(void *ctx, const struct runner_progress *p)
{
    ++*(int64_t *)ctx;
    if (strcmp(phase, p->phase) == 0)
        return;
    (void)snprintf(phase, sizeof phase, "%s", p->phase);
    printf("progress %s\n", phase);
    fflush(stdout);
}

static void add_info(struct str *out, const struct runner_object_info *info)
{
    json_add_text(out, "digest", info->digest);
    json_add_int(out, "size", info->size_bytes);
}

static void add_base(struct str *out, struct runner_base *base)
{
    add_info(out, &base->info);
    json_add_text(out, "disk", base->disk);
    json_add_text(out, "format", base->format);
    json_add_text(out, "image", base->image_json);
    json_add_int(out, "disk_bytes", base->size_bytes);
    json_add_int(out, "content_bytes", base->content_bytes);
    host_table()->release((void *)(uintptr_t)base->disk);
    host_table()->release((void *)(uintptr_t)base->format);
    host_table()->release((void *)(uintptr_t)base->image_json);
}

static int operate(void *self, const char *operation, const struct json *request, struct str *out,
                   struct runner_error *err)
{
    const struct runner_storage_ops *ops = plugin->ops;
    struct runner_object from_object, to_object;
    const struct runner_object *from = object_of(json_get(request, "from"), &from_object),
                               *to = object_of(json_get(request, "to"), &to_object);
    struct runner_call *call = host_call(json_int(request, "deadline_ms", 120000), 0);
    struct runner_object_info info = {.size = sizeof info};
    struct runner_base base = {.size = sizeof base};
    int64_t n = 0;
    int status = -1;

    if (strcmp(operation, "inspect") == 0 && (status = ops->inspect(self, call, from, &info, err)) == 0)
        add_info(out, &info);
    if (strcmp(operation, "pull") == 0 &&
        (status = ops->pull(self, call, from, to, json_text(request, "dir", NULL), on_progress, &n, &base, err)) == 0)
        add_base(out, &base);
    if (strcmp(operation, "push") == 0 &&
        (status = ops->push(self, call, json_text(request, "path", NULL), json_text(request, "format", "raw"),
                            json_text(request, "image", "{}"), to, on_progress, &n, &info, err)) == 0)
        add_info(out, &info);
    if (strcmp(operation, "copy") == 0 && (status = ops->copy(self, call, from, to, on_progress, &n, &info, err)) == 0)
        add_info(out, &info);
    if (strcmp(operation, "remove") == 0)
        status = ops->remove(self, call, from, err);
    json_add_int(out, "progress", n);
    return status;
}

/* Without cgroups: they are those of one runner, and here are many. */
int main(int argc, char **argv)
{
    auto_json struct json *request = NULL;
    auto_str struct str out = STR_INIT;
    struct runner_error err = ERROR_INIT;
    const struct runner_plugin *transport;
    void *self;
    int status;

    if (argc < 3 || json_parse(argv[2], strlen(argv[2]), &request, &err) < 0)
        tap_bail_out("usage: operate OPERATION REQUEST [KEY=VALUE]...: %s", err.message);
    fake_host_reset();
    fake_host_root(json_text(request, "root", "/"));
    transport = host_load("transport/local");
    host_transport(transport, host_create(transport, "cgroup", "", NULL));
    plugin = host_load(json_text(request, "plugin", "storage/oci"));
    self = make_instance(json_text(request, "root", "/"), argv + 3, argc - 3);
    json_open(&out, NULL, '{');
    status = operate(self, argv[1], request, &out, &err);
    json_add_int(&out, "status", status);
    json_add_text(&out, "code", error_name(err.code));
    json_add_text(&out, "text", err.message);
    json_add_bool(&out, "retry", err.retry != 0);
    json_add_text(&out, "log", fake_host_log());
    json_close(&out, '}');
    puts(str_text(&out));
    plugin->destroy(self);
    return status < 0;
}
