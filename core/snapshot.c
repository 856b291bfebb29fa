#include "core/snapshot.h"

#include <string.h>

#include "core/batch.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/text.h"

#define MANIFEST_MAX (64 * 1024)
#define CMDLINE_MAX  2000 /* the kernel takes 2048 */

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    free(snapshot->ref);
    free(snapshot->kernel);
    free(snapshot->initramfs);
    free(snapshot->cmdline);
    free(snapshot->disk_path);
    free(snapshot->disk_format);
    free(snapshot);
}

static int wrong(const char *member, const char *expected, struct runner_error *err)
{
    return fail(err, RUNNER_E_INVALID, 0, "manifest.json: %s: expected %s", member, expected);
}

static bool is_file_name(const char *name)
{
    return name[0] != '\0' && strlen(name) < 200 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int read_file_name(const struct json *from, const char *member, const char *dir, bool is_required, char **ret,
                          struct runner_error *err)
{
    const char *name = json_text(from, member, NULL);

    if (name == NULL && !is_required)
        return 0;
    if (name == NULL || !is_file_name(name))
        return wrong(member, "the name of a file in the snapshot's directory", err);
    *ret = mem_printf("%s/%s", dir, name);
    return 0;
}

static int read_disk(const struct json *from, const char *dir, struct snapshot *snapshot, struct runner_error *err)
{
    const char *format = json_text(from, "format", "");

    if (from == NULL)
        return wrong("disk", "an object", err);
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return wrong("disk.format", "raw or qcow2", err);
    snapshot->disk_format = mem_dup(format);
    snapshot->image.size_bytes = json_int(from, "sizeBytes", 0);
    if (snapshot->image.size_bytes <= 0 || snapshot->image.size_bytes % 512 != 0)
        return wrong("disk.sizeBytes", "a positive multiple of 512", err);
    if (read_file_name(from, "file", dir, true, &snapshot->disk_path, err) < 0)
        return error_wrap(err, "disk");
    snapshot->image.size = sizeof snapshot->image;
    snapshot->image.flags = RUNNER_I_READONLY;
    snapshot->image.path = snapshot->disk_path;
    snapshot->image.format = snapshot->disk_format;
    return 0;
}

static int read_boot(const struct json *from, const char *dir, struct snapshot *snapshot, struct runner_error *err)
{
    const char *cmdline = json_text(from, "cmdline", NULL);

    if (cmdline == NULL || strlen(cmdline) > CMDLINE_MAX)
        return wrong("cmdline", "a kernel command line of at most 2000 bytes", err);
    snapshot->cmdline = mem_dup(cmdline);
    snapshot->has_daemon = json_bool(from, "daemon", false);
    if (read_file_name(from, "kernel", dir, true, &snapshot->kernel, err) < 0 ||
        read_file_name(from, "initramfs", dir, false, &snapshot->initramfs, err) < 0)
        return -1;
    return 0;
}

int snapshot_parse(const char *text, size_t len, const char *dir, const char *ref, struct snapshot **ret,
                   struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = mem_alloc(sizeof *snapshot);
    auto_json struct json *from = NULL;

    if (json_parse(text, len, &from, err) < 0)
        return error_wrap(err, "manifest.json");
    if (json_int(from, "schema", 0) != 1)
        return wrong("schema", "1", err);
    snapshot->ref = mem_dup(ref);
    if (read_disk(json_get(from, "disk"), dir, snapshot, err) < 0 || read_boot(from, dir, snapshot, err) < 0)
        return -1;
    *ret = snapshot;
    snapshot = NULL;
    return 0;
}

int snapshot_open(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *dir = NULL, *path = NULL;
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL,
                               .number = MANIFEST_MAX};
    const struct runner_result *result;

    if (!text_is_ref(ref))
        return fail(err, RUNNER_E_INVALID, 0, "snapshot '%.100s' is not a reference", ref);
    dir = mem_printf("%s/snapshots/%s", root, ref);
    path = mem_printf("%s/manifest.json", dir);
    step.path = path;
    if (batch_add(batch, &step, err) < 0 || batch_run(call, batch, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->status == 1)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no snapshot '%s' on this runner", ref);
    if (snapshot_parse(result->out, result->len, dir, ref, ret, err) < 0)
        return error_wrap(err, "snapshot '%s'", ref);
    return 0;
}
