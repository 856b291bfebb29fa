#include "core/snapshot.h"

#include <string.h>

#include "core/batch.h"
#include "core/call.h"
#include "core/record.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/text.h"

#define MANIFEST_MAX (64 * 1024)
#define CMDLINE_MAX  2000 /* the kernel takes 2048 */
#define LIST_MAX     20000 /* directories that a listing looks at */

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    free(snapshot->ref);
    free(snapshot->kernel);
    free(snapshot->initramfs);
    free(snapshot->cmdline);
    free(snapshot->firmware);
    free(snapshot->disk_path);
    free(snapshot->disk_format);
    free(snapshot->base);
    free(snapshot->digest);
    json_free(snapshot->config);
    free(snapshot);
}

static int wrong(const char *member, const char *expected, struct runner_error *err)
{
    return fail(err, RUNNER_E_INVALID, 0, "manifest.json: %s: expected %s", member, expected);
}

static bool is_one_line(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static bool is_file_name(const char *name)
{
    return name[0] != '\0' && strlen(name) < 200 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && is_one_line(name);
}

static bool is_absent(const struct json *member)
{
    return member == NULL || member->type == JSON_NULL;
}

/* member: its name in messages; the last part is its key in `from`. */
static int read_file_name(const struct json *from, const char *member, const char *dir, char **ret,
                          struct runner_error *err)
{
    const char *dot = strrchr(member, '.');
    const char *name = json_text(from, dot != NULL ? dot + 1 : member, NULL);

    if (name == NULL || !is_file_name(name))
        return wrong(member, "the name of a file in the snapshot's directory", err);
    *ret = mem_printf("%s/%s", dir, name);
    return 0;
}

bool snapshot_is_base_key(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-");

    return len >= 1 && len <= 128 && text[len] == '\0' && text[0] != '.' && text[0] != '-';
}

static int read_disk(const struct json *from, const char *dir, struct snapshot *snapshot, struct runner_error *err)
{
    const char *format = json_text(from, "format", "");

    if (from == NULL || from->type != JSON_OBJECT)
        return wrong("disk", "an object", err);
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return wrong("disk.format", "raw or qcow2", err);
    snapshot->disk_format = mem_dup(format);
    snapshot->image.size_bytes = json_int(from, "sizeBytes", 0);
    if (snapshot->image.size_bytes <= 0 || snapshot->image.size_bytes % 512 != 0)
        return wrong("disk.sizeBytes", "a positive multiple of 512", err);
    if (read_file_name(from, "disk.file", dir, &snapshot->disk_path, err) < 0)
        return -1;
    snapshot->image.size = sizeof snapshot->image;
    snapshot->image.flags = RUNNER_I_READONLY;
    snapshot->image.path = snapshot->disk_path;
    snapshot->image.format = snapshot->disk_format;
    return 0;
}

static int read_kernel(const struct json *from, const char *dir, struct snapshot *snapshot, struct runner_error *err)
{
    const char *cmdline = json_text(from, "cmdline", NULL);

    if (cmdline == NULL || strlen(cmdline) > CMDLINE_MAX || !is_one_line(cmdline))
        return wrong("cmdline", "a kernel command line of at most 2000 bytes", err);
    snapshot->cmdline = mem_dup(cmdline);
    if (read_file_name(from, "kernel", dir, &snapshot->kernel, err) < 0)
        return -1;
    if (!is_absent(json_get(from, "initramfs")) &&
        read_file_name(from, "initramfs", dir, &snapshot->initramfs, err) < 0)
        return -1;
    return 0;
}

/* It becomes a part of records, where escapes may be longer than what they stand for here. */
static bool fits_record(const struct json *image)
{
    auto_str struct str text = STR_INIT;

    json_add_tree(&text, NULL, image);
    return text.len <= RECORD_IMAGE_MAX;
}

/* What a pull knows of it. */
static int read_image(const struct json *from, struct snapshot *snapshot, struct runner_error *err)
{
    const struct json *image = json_get(from, "image");
    const char *base = json_text(from, "base", NULL);

    if (!is_absent(json_get(from, "base")) && (base == NULL || !snapshot_is_base_key(base)))
        return wrong("base", "the name of a directory in bases/", err);
    if (!is_absent(image) && image->type != JSON_OBJECT)
        return wrong("image", "an object", err);
    if (!is_absent(image) && !fits_record(image))
        return wrong("image", "at most 64 KiB, escapes included", err);
    snapshot->base = mem_dup(base);
    snapshot->config = is_absent(image) ? NULL : json_copy(image);
    snapshot->digest = mem_dup(json_text(from, "digest", NULL));
    snapshot->content_bytes = json_int(from, "contentBytes", 0);
    snapshot->stored_bytes = json_int(from, "storedBytes", 0);
    return 0;
}

static int read_boot(const struct json *from, const char *dir, struct snapshot *snapshot, struct runner_error *err)
{
    const struct json *daemon = json_get(from, "daemon"), *ready = json_get(from, "ready");

    if (!is_absent(daemon) && daemon->type != JSON_BOOL)
        return wrong("daemon", "true or false", err);
    if (!is_absent(ready) && strcmp(json_text(from, "ready", ""), "serial") != 0 &&
        strcmp(json_text(from, "ready", ""), "daemon") != 0)
        return wrong("ready", "daemon or serial", err);
    snapshot->is_ready_by_log = strcmp(json_text(from, "ready", ""), "serial") == 0;
    snapshot->has_daemon = json_bool(from, "daemon", snapshot->is_ready_by_log); /* nor does it want one */
    if (snapshot->base != NULL && is_absent(json_get(from, "firmware")) && is_absent(json_get(from, "kernel"))) {
        snapshot->has_daemon = true; /* the initramfs brings it */
        return 0;
    }
    if (is_absent(json_get(from, "firmware")))
        return read_kernel(from, dir, snapshot, err);
    if (!is_absent(json_get(from, "kernel")))
        return wrong("firmware", "no kernel beside it", err);
    return read_file_name(from, "firmware", dir, &snapshot->firmware, err);
}

int snapshot_parse(const char *text, size_t len, const char *root, const char *ref, struct snapshot **ret,
                   struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = mem_alloc(sizeof *snapshot);
    auto_free char *dir = mem_printf("%s/snapshots/%s", root, ref), *base_dir = NULL;
    auto_json struct json *from = NULL;

    if (json_parse(text, len, &from, err) < 0)
        return error_wrap(err, "manifest.json");
    if (json_int(from, "schema", 0) != 1)
        return wrong("schema", "1", err);
    snapshot->ref = mem_dup(ref);
    if (read_image(from, snapshot, err) < 0)
        return -1;
    if (snapshot->base != NULL)
        base_dir = mem_printf("%s/bases/%s", root, snapshot->base);
    if (read_disk(json_get(from, "disk"), base_dir != NULL ? base_dir : dir, snapshot, err) < 0 ||
        read_boot(from, dir, snapshot, err) < 0)
        return -1;
    *ret = snapshot;
    snapshot = NULL;
    return 0;
}

int snapshot_parse_boot(struct snapshot *snapshot, const char *text, size_t len, const char *root,
                        struct runner_error *err)
{
    auto_free char *dir = mem_printf("%s/boot", root);
    auto_json struct json *from = NULL;

    if (json_parse(text, len, &from, err) < 0)
        return error_wrap(err, "manifest.json");
    return json_int(from, "schema", 0) == 1 ? read_kernel(from, dir, snapshot, err) : wrong("schema", "1", err);
}

/* ---- what there is ---- */

/* One result: the names in a directory, NUL after each; NULL: there is none, or it is no directory. */
static const struct runner_result *list_dir(struct runner_call *call, struct runner_batch *batch, const char *path)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = path};
    struct runner_error err = ERROR_INIT;
    const struct runner_result *result;

    if (batch_run_step(call, batch, &step, &err) < 0)
        return NULL;
    result = batch_result(batch, 0);
    return result->status == 0 ? result : NULL;
}

static bool has_manifest(const struct runner_result *names)
{
    for (const char *p = names->out; p < names->out + names->len; p += strlen(p) + 1)
        if (strcmp(p, "manifest.json") == 0)
            return true;
    return false;
}

/* Looks into <root>/snapshots/<ref>, ref "" for the top: it may be a snapshot, and so may what is below it ("a/b" and
 * "a/b/c"): its names are appended to the refs to look at (each ended by NUL). */
static void look_into(struct runner_call *call, const char *root, const char *ref, struct str *todo, int *n_dirs,
                      struct str *refs)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("%s/snapshots%s%s", root, ref[0] != '\0' ? "/" : "", ref);
    const struct runner_result *names = list_dir(call, batch, path);

    if (names == NULL)
        return;
    if (has_manifest(names) && ref[0] != '\0')
        str_addf(refs, "%s\n", ref);
    for (const char *p = names->out; p < names->out + names->len && *n_dirs < LIST_MAX; p += strlen(p) + 1) {
        auto_free char *below = mem_printf("%s%s%s", ref, ref[0] != '\0' ? "/" : "", p);
        if (!text_is_ref(below) || strcmp(p, "manifest.json") == 0)
            continue;
        str_add_mem(todo, below, strlen(below) + 1);
        (*n_dirs)++;
    }
}

int snapshot_list(struct runner_call *call, const char *root, struct str *ret_refs, struct runner_error *err)
{
    auto_str struct str todo = STR_INIT, refs = STR_INIT;
    int n_dirs = 0;

    look_into(call, root, "", &todo, &n_dirs, &refs);
    for (size_t at = 0; at < todo.len;) {
        auto_free char *ref = mem_dup(todo.ptr + at); /* todo grows, and may move */
        int status = call_cancelled(call);
        if (status != 0)
            return fail(err, status, 0, "list of snapshots");
        at += strlen(ref) + 1;
        look_into(call, root, ref, &todo, &n_dirs, &refs);
    }
    str_add_mem(ret_refs, str_text(&refs), refs.len);
    return 0;
}

int snapshot_fail_absent(struct runner_call *call, const char *root, const char *ref, struct runner_error *err)
{
    struct runner_error ignored = ERROR_INIT;
    auto_str struct str refs = STR_INIT;

    if (snapshot_list(call, root, &refs, &ignored) < 0 || refs.len == 0 || refs.len > 200)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no snapshot '%s' on this runner%s", ref,
                    ignored.code == 0 && refs.len == 0 ? ", nor any other" : "");
    for (char *p = refs.ptr; *p != '\0'; p++)
        if (*p == '\n')
            *p = p[1] != '\0' ? ' ' : '\0';
    return fail(err, RUNNER_E_NOTFOUND, 0, "no snapshot '%s' on this runner, which has: %s", ref, refs.ptr);
}

/* ---- one of them ---- */

/* Of the snapshot's own directory, or one that all share. */
static int find_firmware(struct runner_call *call, const char *root, struct snapshot *snapshot,
                         struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = snapshot->firmware};
    char *shared;

    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    if (batch_result(batch, 0)->status == 0)
        return 0;
    shared = mem_printf("%s/firmware/%s", root, strrchr(snapshot->firmware, '/') + 1);
    free(snapshot->firmware);
    snapshot->firmware = shared;
    return 0;
}

/* The kernel that pulled images share. */
static int read_shared_boot(struct runner_call *call, const char *root, struct snapshot *snapshot,
                            struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("%s/boot/manifest.json", root);
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_READ,
                               .flags = RUNNER_S_OPTIONAL,
                               .path = path,
                               .number = MANIFEST_MAX};
    const struct runner_result *result;

    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->status == 1)
        return fail(err, RUNNER_E_IO, 0, "no kernel for images: '%s' is missing; 'runner-image boot --root %s' makes it",
                    path, root);
    if (snapshot_parse_boot(snapshot, result->out, result->len, root, err) < 0)
        return error_wrap(err, "'%s'", path);
    return 0;
}

int snapshot_check_boot(struct runner_call *call, const char *root, struct runner_error *err)
{
    auto_snapshot struct snapshot *scratch = mem_alloc(sizeof *scratch);
    auto_batch struct runner_batch *batch = batch_new(call);
    const char *files[2];
    int n = 0;

    if (read_shared_boot(call, root, scratch, err) < 0)
        return -1;
    files[n++] = scratch->kernel;
    if (scratch->initramfs != NULL)
        files[n++] = scratch->initramfs;
    for (int i = 0; i < n; i++) {
        const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = files[i]};
        if (batch_add(batch, &step, err) < 0)
            return -1;
    }
    if (batch_run(call, batch, err) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (batch_result(batch, i)->status != 0)
            return fail(err, RUNNER_E_IO, 0, "'%s' is missing; 'runner-image boot --force --root %s' makes it", files[i],
                        root);
    return 0;
}

/* A name of a base that has gone is as good as none: it can be fetched again. */
static int check_base(struct runner_call *call, const struct snapshot *snapshot, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = snapshot->disk_path};

    if (snapshot->base == NULL)
        return 0;
    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    return batch_result(batch, 0)->status == 0
               ? 0
               : fail(err, RUNNER_E_NOTFOUND, 0, "snapshot '%s' is not on this runner any more", snapshot->ref);
}

int snapshot_find(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_snapshot struct snapshot *snapshot = NULL;
    auto_free char *path = NULL;
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .number = MANIFEST_MAX};
    const struct runner_result *result;

    if (!text_is_ref(ref))
        return fail(err, RUNNER_E_INVALID, 0, "snapshot '%.100s' is not a reference", ref);
    path = mem_printf("%s/snapshots/%s/manifest.json", root, ref);
    step.path = path;
    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->status == 1)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no snapshot '%s' on this runner", ref);
    if (snapshot_parse(result->out, result->len, root, ref, &snapshot, err) < 0)
        return error_wrap(err, "snapshot '%s'", ref);
    if (check_base(call, snapshot, err) < 0)
        return -1;
    *ret = snapshot;
    snapshot = NULL;
    return 0;
}

int snapshot_complete(struct runner_call *call, const char *root, struct snapshot *snapshot, struct runner_error *err)
{
    if (snapshot->firmware != NULL)
        return find_firmware(call, root, snapshot, err);
    return snapshot->kernel != NULL ? 0 : read_shared_boot(call, root, snapshot, err);
}

int snapshot_open(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error cause = ERROR_INIT;

    if (snapshot_find(call, root, ref, &snapshot, &cause) < 0) {
        if (cause.code == RUNNER_E_NOTFOUND)
            return snapshot_fail_absent(call, root, ref, err);
        if (err != NULL)
            error_copy(err, &cause);
        return -1;
    }
    if (snapshot_complete(call, root, snapshot, err) < 0)
        return -1;
    *ret = snapshot;
    snapshot = NULL;
    return 0;
}
