#include "plugins/vmm/common/verdict.h"

#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "plugins/vmm/common/steps.h"

#define VERDICT_SCHEMA 1
#define VERDICT_MAX    (64 * 1024)

void scene_done(struct scene *scene)
{
    json_free(scene->kept);
    scene->kept = NULL;
}

/* ---- looking ---- */

/* Where a name without a slash may lie: the PATH that a transport looks in. */
static const char *const binary_dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

static int add_binary(const struct runner_host *host, struct runner_batch *batch, const char *binary,
                      struct runner_error *err)
{
    if (strchr(binary, '/') != NULL)
        return steps_add_path(host, batch, RUNNER_STAT, 0, 0, binary, err);
    for (size_t i = 0; i < ARRAY_LEN(binary_dirs); i++) {
        auto_free char *path = mem_printf("%s/%s", binary_dirs[i], binary);

        if (steps_add_path(host, batch, RUNNER_STAT, 0, 0, path, err) < 0)
            return -1;
    }
    return 0;
}

static void scene_read(const struct runner_host *host, const struct runner_batch *batch, int first_binary,
                       struct scene *scene)
{
    const struct runner_result *boot = host->result(batch, 0), *kept = host->result(batch, 1);
    const struct runner_result *stat;

    (void)snprintf(scene->boot_id, sizeof scene->boot_id, "%.*s", (int)strcspn(boot->out ? boot->out : "", "\n"),
                   boot->out ? boot->out : "");
    scene->has_kvm_device = host->result(batch, 2)->status == 0;
    scene->has_root = host->result(batch, 3)->status == 0;
    for (int i = first_binary; (stat = host->result(batch, i)) != NULL; i++)
        if (stat->status == 0) {
            scene->size = stat->number;
            scene->mtime = stat->number2;
            break;
        }
    if (kept->out != NULL)
        (void)json_parse(kept->out, kept->len, &scene->kept, NULL);
}

static char *verdict_path(const struct runner_host *host, struct runner_call *call, const char *name)
{
    return mem_printf("%s/accel-%s.json", host->root(call), name);
}

int scene_look(const struct runner_host *host, struct runner_call *call, const char *name, const char *binary,
               struct scene *ret, struct runner_error *err)
{
    struct runner_batch *batch = host->batch_new(call);
    auto_free char *kept = verdict_path(host, call, name);
    int result = -1;

    ret->name = name;
    ret->binary = binary;
    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    if (steps_add_path(host, batch, RUNNER_READ, 0, 4096, "/proc/sys/kernel/random/boot_id", err) >= 0 &&
        steps_add_path(host, batch, RUNNER_READ, RUNNER_S_OPTIONAL, VERDICT_MAX, kept, err) >= 0 &&
        steps_add_path(host, batch, RUNNER_STAT, 0, 0, "/dev/kvm", err) >= 0 &&
        steps_add_path(host, batch, RUNNER_STAT, 0, 0, host->root(call), err) >= 0 &&
        add_binary(host, batch, binary, err) >= 0 && host->run(call, batch, err) == 0) {
        scene_read(host, batch, 4, ret);
        result = 0;
    }
    host->batch_free(batch);
    return result;
}

/* ---- keeping ---- */

bool verdict_recall(const struct scene *scene, const struct runner_field *inputs, size_t n)
{
    const struct json *kept = scene->kept;

    if (kept == NULL || json_int(kept, "schema", 0) != VERDICT_SCHEMA || scene->mtime == 0 ||
        strcmp(json_text(kept, "bootId", ""), scene->boot_id) != 0 ||
        strcmp(json_text(kept, "binary", ""), scene->binary) != 0 || json_int(kept, "mtime", -1) != scene->mtime ||
        json_int(kept, "size", -1) != scene->size || json_bool(kept, "kvmDevice", false) != scene->has_kvm_device)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(json_text(kept, inputs[i].key, ""), inputs[i].value) != 0)
            return false;
    return true;
}

void verdict_begin(const struct scene *scene, const struct runner_field *inputs, size_t n, struct str *out)
{
    json_open(out, NULL, '{');
    json_add_int(out, "schema", VERDICT_SCHEMA);
    json_add_text(out, "bootId", scene->boot_id);
    json_add_text(out, "binary", scene->binary);
    json_add_int(out, "mtime", scene->mtime);
    json_add_int(out, "size", scene->size);
    for (size_t i = 0; i < n; i++)
        json_add_text(out, inputs[i].key, inputs[i].value);
    json_add_bool(out, "kvmDevice", scene->has_kvm_device);
}

void verdict_keep(const struct runner_host *host, struct runner_call *call, const struct scene *scene, struct str *out)
{
    struct runner_error err = ERROR_INIT;
    struct runner_field field = {"error", err.message};
    struct runner_batch *batch;
    auto_free char *path = verdict_path(host, call, scene->name);

    if (!scene->has_root)
        return;
    json_close(out, '}');
    str_add_char(out, '\n');
    batch = host->batch_new(call);
    if (batch == NULL || steps_add_write(host, batch, path, out->ptr, out->len, false, &err) < 0 ||
        host->run(call, batch, &err) < 0)
        host->log(call, RUNNER_LOG_DEBUG, "vmm.accel_not_kept", &field, 1);
    host->batch_free(batch);
}
