#include "plugins/vmm/common/kernel.h"

#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"

#define MANIFEST_MAX (256 * 1024)

void kernel_done(struct kernel *kernel)
{
    free(kernel->path);
    free(kernel->initramfs);
    *kernel = (struct kernel){0};
}

/* A file name within the snapshot's directory: manifests are data from elsewhere. */
static bool is_file_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

static bool manifest_read(const char *text, size_t len, const char *dir, struct kernel *ret)
{
    auto_json struct json *manifest = NULL;
    const char *kernel, *initramfs;

    if (json_parse(text, len, &manifest, NULL) < 0 || strcmp(json_text(manifest, "init", ""), "runner-guestd") != 0)
        return false;
    kernel = json_text(manifest, "kernel", "");
    initramfs = json_text(manifest, "initramfs", "");
    if (!is_file_name(kernel) || !is_file_name(initramfs))
        return false;
    ret->path = mem_printf("%s/%s", dir, kernel);
    ret->initramfs = mem_printf("%s/%s", dir, initramfs);
    return true;
}

/* Adds a step for each name that may be a snapshot, its directory to dirs; their number, or -1. */
static int plan_manifests(const struct runner_host *host, struct runner_call *call, struct runner_batch *batch,
                          const char *names, size_t len, char **dirs, struct runner_error *err)
{
    int n = 0;

    for (const char *name = names; name < names + len && n < KERNEL_SNAPSHOTS_MAX; name += strlen(name) + 1) {
        struct runner_step step = {
            .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .number = MANIFEST_MAX};
        auto_free char *path = NULL;

        if (!text_is_ref(name))
            continue;
        dirs[n] = mem_printf("%s/snapshots/%s", host->root(call), name);
        step.path = path = mem_printf("%s/manifest.json", dirs[n++]);
        if (host->add(batch, &step, err) < 0)
            return -1;
    }
    return n;
}

/* names: as LIST gives them. What cannot be read is no snapshot; only the end of the operation is a failure. */
static int read_manifests(const struct runner_host *host, struct runner_call *call, const char *names, size_t len,
                          struct kernel *ret, struct runner_error *err)
{
    struct runner_batch *batch = host->batch_new(call);
    char *dirs[KERNEL_SNAPSHOTS_MAX] = {NULL};
    int n;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    n = plan_manifests(host, call, batch, names, len, dirs, err);
    if (n > 0)
        (void)host->run(call, batch, err);
    for (int i = 0; i < KERNEL_SNAPSHOTS_MAX && dirs[i] != NULL; i++) {
        const struct runner_result *result = host->result(batch, i);

        if (ret->path == NULL && result != NULL && result->out != NULL)
            (void)manifest_read(result->out, result->len, dirs[i], ret);
        free(dirs[i]);
    }
    host->batch_free(batch);
    return n < 0 || host->cancelled(call) != 0 ? -1 : 0;
}

int kernel_find(const struct runner_host *host, struct runner_call *call, const char *configured, const char *initramfs,
                struct kernel *ret, struct runner_error *err)
{
    auto_free char *path = mem_printf("%s/snapshots", host->root(call));
    struct runner_step list = {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = path};
    struct runner_batch *batch;
    const struct runner_result *result;
    int status;

    if (configured != NULL) {
        ret->path = mem_dup(configured);
        ret->initramfs = mem_dup(initramfs);
        return 0;
    }
    batch = host->batch_new(call);
    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    status = host->add(batch, &list, err) < 0 ? -1 : host->run(call, batch, err);
    result = host->result(batch, 0);
    if (status == 0 && result->out != NULL)
        status = read_manifests(host, call, result->out, result->len, ret, err);
    host->batch_free(batch);
    return status;
}
