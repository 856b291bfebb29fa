/* disk/qcow2: a sandbox's disk is an overlay on its base image; its header is made here, so that no process is needed. */
#include <string.h>

#include "core/util/str.h"
#include "plugins/disk/common/disk.h"
#include "plugins/disk/qcow2/header.h"

static int qcow2_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n, (void)err;
    *ret_self = (void *)&disk_host; /* nothing to keep, but not NULL: there is an instance */
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
    return disk_check_base(disk, err);
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

    if (disk_host->add(batch, &write, err) < 0)
        return -1;
    for (size_t i = 1; i < QCOW2_PARTS; i++) {
        const struct qcow2_part *part = &file->parts[i];
        struct runner_step patch = {RUNNER_STEP_INIT,       .kind = RUNNER_PATCH,  .path = path,
                                    .data = part->data.ptr, .len = part->data.len, .number = part->at};
        if (disk_host->add(batch, &patch, err) < 0)
            return -1;
    }
    return disk_host->add(batch, &grow, err) < 0 ? -1 : 0;
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
    if (check_base(disk, err) < 0 || qcow2_header(&image, &file, err) < 0 || disk_hand_over(&made, &given, err) < 0)
        return -1;
    if (add_steps(batch, path, &file, err) < 0) {
        disk_take_back(&given);
        return -1;
    }
    *ret_image = given;
    return 0;
}

static int qcow2_remove(void *self, struct runner_call *call, struct runner_batch *batch,
                        const struct runner_disk *disk, struct runner_error *err)
{
    auto_free char *path = disk_path(disk);

    (void)self, (void)call;
    return disk_add_removal(batch, path, err);
}

static const struct runner_disk_ops ops = {
    .clone = qcow2_clone,
    .remove = qcow2_remove,
    .inspect = disk_inspect,
    .grow = disk_grow,
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_DISK, "qcow2", ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_DISK_CAP_COW | RUNNER_DISK_CAP_INSPECT | RUNNER_DISK_CAP_GROW,
    .version = "1.0",
    .summary = "copy-on-write overlays on a base image, without a process to make them",
    .load = disk_load,
    .create = qcow2_create,
    .destroy = qcow2_destroy,
};
RUNNER_PLUGIN(plugin)
