/* disk/qcow2: a sandbox's disk is an overlay on its base image; its header is made here, so that no process is needed. */
#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "include/runner-plugin.h"
#include "plugins/disk/qcow2/grow.h"
#include "plugins/disk/qcow2/header.h"
#include "plugins/disk/qcow2/inspect.h"

static const struct runner_host *host;

static int qcow2_load(const struct runner_host *services, struct runner_error *err)
{
    (void)err;
    host = services;
    return 0;
}

static int qcow2_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n, (void)err;
    *ret_self = (void *)&host; /* nothing to keep, but not NULL: there is an instance */
    return 0;
}

static void qcow2_destroy(void *self)
{
    (void)self;
}

static char *disk_path(const struct runner_disk *disk)
{
    return mem_printf("%s/disk.qcow2", disk->dir);
}

static int check_base(const struct runner_disk *disk, struct runner_error *err)
{
    const struct runner_image *base = disk->base;

    if (strcmp(base->format, "raw") != 0 && strcmp(base->format, "qcow2") != 0)
        return fail(err, RUNNER_E_INVALID, 0, "base image '%s' has the format '%s', neither raw nor qcow2", base->path,
                    base->format);
    if (base->size_bytes > disk->size_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "base image '%s' of %lld bytes is larger than the disk of %lld bytes",
                    base->path, (long long)base->size_bytes, (long long)disk->size_bytes);
    return 0;
}

/* The file's head, its other parts, its length; the undo of the first covers all. */
static int add_steps(struct runner_batch *batch, const char *path, const struct qcow2_file *file,
                     struct runner_error *err)
{
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step write = {RUNNER_STEP_INIT,
                                .kind = RUNNER_WRITE,
                                .flags = RUNNER_S_EXCL | RUNNER_S_FRESH,
                                .path = path,
                                .data = file->parts[0].data.ptr,
                                .len = file->parts[0].data.len,
                                .number = 0600,
                                .undo = &undo};
    struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = path, .number = file->size_bytes};

    if (host->add(batch, &write, err) < 0)
        return -1;
    for (size_t i = 1; i < QCOW2_PARTS; i++) {
        const struct qcow2_part *part = &file->parts[i];
        struct runner_step patch = {RUNNER_STEP_INIT,       .kind = RUNNER_PATCH,  .path = path,
                                    .data = part->data.ptr, .len = part->data.len, .number = part->at};
        if (host->add(batch, &patch, err) < 0)
            return -1;
    }
    return host->add(batch, &grow, err) < 0 ? -1 : 0;
}

static char *host_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = host->alloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* Gives copies of the texts of `image` to *ret. */
static int hand_over(const struct runner_image *image, struct runner_image *ret, struct runner_error *err)
{
    const char *const texts[] = {image->path, image->format, image->backing_path, image->backing_format};
    char *own[ARRAY_LEN(texts)] = {NULL};
    struct runner_image made = {.size = ret->size, .size_bytes = image->size_bytes};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        own[i] = texts[i] != NULL ? host_copy(texts[i]) : NULL;
        if (texts[i] == NULL || own[i] != NULL)
            continue;
        while (i-- > 0)
            host->release(own[i]);
        return fail(err, RUNNER_E_NOMEM, 0, "image '%s'", image->path);
    }
    made.path = own[0];
    made.format = own[1];
    made.backing_path = own[2];
    made.backing_format = own[3];
    *ret = made;
    return 0;
}

static void take_back(const struct runner_image *image)
{
    host->release((void *)image->path);
    host->release((void *)image->format);
    host->release((void *)image->backing_path);
    host->release((void *)image->backing_format);
}

static int qcow2_clone(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_disk *disk,
                       struct runner_image *ret_image, struct runner_error *err)
{
    struct qcow2_image image = {disk->size_bytes, disk->base->path, disk->base->format};
    auto_qcow2_file struct qcow2_file file = QCOW2_FILE_INIT;
    auto_free char *path = disk_path(disk);
    struct runner_image made = {.path = path,
                                .format = "qcow2",
                                .backing_path = disk->base->path,
                                .backing_format = disk->base->format,
                                .size_bytes = disk->size_bytes};
    struct runner_image given = {.size = ret_image->size};

    (void)self, (void)call;
    if (check_base(disk, err) < 0 || qcow2_header(&image, &file, err) < 0 || hand_over(&made, &given, err) < 0)
        return -1;
    if (add_steps(batch, path, &file, err) < 0) {
        take_back(&given);
        return -1;
    }
    *ret_image = given;
    return 0;
}

static int qcow2_remove(void *self, struct runner_call *call, struct runner_batch *batch,
                        const struct runner_disk *disk, struct runner_error *err)
{
    auto_free char *path = disk_path(disk);
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

    (void)self, (void)call;
    return host->add(batch, &step, err) < 0 ? -1 : 0;
}

/* ---- images that others made ---- */

/* A relative name is one from where the image is. */
static char *absolute(const char *path, const char *backing)
{
    return backing == NULL || backing[0] == '/'
               ? mem_dup(backing)
               : mem_printf("%.*s/%s", (int)(strrchr(path, '/') - path), path, backing);
}

static int read_head(struct runner_batch *batch, struct runner_call *call, const char *path, struct inspected *ret,
                     struct runner_error *err)
{
    const struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_HEAD, .path = path,
                                     .number = INSPECT_HEAD};
    const struct runner_result *result;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "look at '%s'", path);
    if (host->add(batch, &step, err) < 0 || host->run(call, batch, err) < 0)
        return -1;
    result = host->result(batch, 0);
    return inspect_head(result->out, result->len, result->number, ret, err) < 0 ? error_wrap(err, "'%s'", path) : 0;
}

static int qcow2_inspect(void *self, struct runner_call *call, const char *path, struct runner_image *ret_image,
                         struct runner_error *err)
{
    auto_inspected struct inspected found = {.size_bytes = 0};
    struct runner_batch *batch = host->batch_new(call);
    int status = read_head(batch, call, path, &found, err);
    auto_free char *backing = absolute(path, found.backing_path);
    const struct runner_image image = {.path = path,
                                       .format = found.is_qcow2 ? "qcow2" : "raw",
                                       .backing_path = backing,
                                       .backing_format = found.backing_format,
                                       .size_bytes = found.size_bytes};

    (void)self;
    host->batch_free(batch);
    return status < 0 ? -1 : hand_over(&image, ret_image, err);
}

/* ---- growing ---- */

static int add_growth(struct runner_batch *looked, struct runner_call *call, struct runner_batch *batch,
                      const struct runner_image *image, int64_t size_bytes, struct runner_error *err)
{
    const struct runner_step read = {RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_HEAD, .path = image->path,
                                     .number = GROW_HEAD};
    struct runner_step patch = {RUNNER_STEP_INIT, .kind = RUNNER_PATCH, .flags = RUNNER_S_SYNC, .path = image->path,
                                .len = GROW_BYTES, .number = GROW_AT};
    const struct runner_result *result;
    char bytes[GROW_BYTES];
    int is_more;

    if (looked == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "look at '%s'", image->path);
    if (host->add(looked, &read, err) < 0 || host->run(call, looked, err) < 0)
        return -1;
    result = host->result(looked, 0);
    is_more = grow_head(result->out, result->len, size_bytes, bytes, err);
    if (is_more < 0)
        return error_wrap(err, "'%s'", image->path);
    patch.data = bytes;
    return is_more > 0 && host->add(batch, &patch, err) < 0 ? -1 : 0;
}

static int qcow2_grow(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_image *image,
                      int64_t size_bytes, struct runner_error *err)
{
    const struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = image->path, .number = size_bytes};
    struct runner_batch *looked;
    int status;

    (void)self;
    if (strcmp(image->format, "raw") == 0)
        return host->add(batch, &grow, err) < 0 ? -1 : 0;
    if (strcmp(image->format, "qcow2") != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "'%s': images of format '%s' cannot grow", image->path, image->format);
    looked = host->batch_new(call);
    status = add_growth(looked, call, batch, image, size_bytes, err);
    host->batch_free(looked);
    return status;
}

static const struct runner_disk_ops ops = {
    .clone = qcow2_clone,
    .remove = qcow2_remove,
    .inspect = qcow2_inspect,
    .grow = qcow2_grow,
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_DISK, "qcow2", ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_DISK_CAP_COW | RUNNER_DISK_CAP_INSPECT | RUNNER_DISK_CAP_GROW,
    .version = "1.0",
    .summary = "copy-on-write overlays on a base image, without a process to make them",
    .load = qcow2_load,
    .create = qcow2_create,
    .destroy = qcow2_destroy,
};
RUNNER_PLUGIN(plugin)
