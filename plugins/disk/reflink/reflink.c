/* disk/reflink: a sandbox's disk is a raw image that shares its blocks with the base image until either is written to. */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "core/util/str.h"
#include "plugins/disk/common/disk.h"
#include "plugins/disk/common/limits.h"

struct reflink {
    bool copies; /* where blocks cannot be shared */
};

static int reflink_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct reflink *self = mem_alloc(sizeof *self);

    (void)err;
    for (size_t i = 0; i < n; i++)
        if (strcmp(values[i].name, "copy") == 0)
            self->copies = values[i].number != 0;
    *ret_self = self;
    return 0;
}

static void reflink_destroy(void *self)
{
    free(self);
}

static char *disk_path(const struct runner_disk *disk)
{
    return mem_printf("%s/disk.raw", disk->dir);
}

static uint32_t sharing(const struct reflink *self)
{
    return self->copies ? 0 : RUNNER_S_REFLINK;
}

static int check(const struct runner_disk *disk, struct runner_error *err)
{
    const struct runner_image *base = disk->base;

    if (strcmp(base->format, "raw") != 0)
        return fail(err, RUNNER_E_INVALID, 0,
                    "base image '%s' has the format '%s', not raw (qemu-img convert -O raw makes it that)", base->path,
                    base->format);
    if (disk->size_bytes <= 0 || disk->size_bytes % 512 != 0 || disk->size_bytes > DISK_SIZE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "disk of %" PRId64 " bytes: not a multiple of 512 up to %" PRId64,
                    disk->size_bytes, DISK_SIZE_MAX);
    return disk_check_base(disk, err);
}

static int add_steps(const struct reflink *self, struct runner_batch *batch, const char *path,
                     const struct runner_disk *disk, struct runner_error *err)
{
    const struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step clone = {
        RUNNER_STEP_INIT, .kind = RUNNER_CLONE, .flags = sharing(self), .path = disk->base->path,
        .to = path,       .number = 0600,       .undo = &undo};
    const struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = path, .number = disk->size_bytes};

    return disk_host->add(batch, &clone, err) < 0 || disk_host->add(batch, &grow, err) < 0 ? -1 : 0;
}

static int reflink_clone(void *self, struct runner_call *call, struct runner_batch *batch,
                         const struct runner_disk *disk, struct runner_image *ret_image, struct runner_error *err)
{
    auto_free char *path = disk_path(disk);
    const struct runner_image made = {.path = path, .format = "raw", .size_bytes = disk->size_bytes};
    struct runner_image given = {.size = ret_image->size};

    (void)call;
    if (check(disk, err) < 0 || disk_hand_over(&made, &given, err) < 0)
        return -1;
    if (add_steps(self, batch, path, disk, err) < 0) {
        disk_take_back(&given);
        return -1;
    }
    *ret_image = given;
    return 0;
}

static int reflink_remove(void *self, struct runner_call *call, struct runner_batch *batch,
                          const struct runner_disk *disk, struct runner_error *err)
{
    auto_free char *path = disk_path(disk);

    (void)self, (void)call;
    return disk_add_removal(batch, path, err);
}

/* ---- what works on the host ---- */

/* Two files in `root` that share their blocks, for a moment. */
static int try(struct runner_batch *batch, const char *root, struct runner_call *call, struct runner_error *err)
{
    auto_free char *from = mem_printf("%s/.reflink-%ld", root, (long)getpid()), *to = mem_printf("%s-2", from);
    char data[16384]; /* more than a file system would keep in its inode */
    const struct runner_step drop_from = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = from};
    const struct runner_step drop_to = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = to};
    const struct runner_step write = {RUNNER_STEP_INIT,   .kind = RUNNER_WRITE, .path = from,      .data = data,
                                      .len = sizeof data, .number = 0600,       .undo = &drop_from};
    const struct runner_step clone = {RUNNER_STEP_INIT, .kind = RUNNER_CLONE, .flags = RUNNER_S_REFLINK, .path = from,
                                      .to = to,         .number = 0600,       .undo = &drop_to};

    memset(data, 'x', sizeof data);
    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "disk");
    if (disk_host->add(batch, &write, err) < 0 || disk_host->add(batch, &clone, err) < 0 ||
        disk_host->add(batch, &drop_to, err) < 0 || disk_host->add(batch, &drop_from, err) < 0)
        return -1;
    return disk_host->run(call, batch, err);
}

static int reflink_diagnose(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *),
                            void *ctx, struct runner_error *err)
{
    const struct reflink *reflink = self;
    struct runner_batch *batch = disk_host->batch_new(call);
    struct runner_finding finding = {
        .size = sizeof finding, .topic = "disk", .level = RUNNER_FINDING_OK, .text = "blocks are shared"};
    int status = try(batch, disk_host->root(call), call, err);
    auto_free char *text = NULL;

    disk_host->batch_free(batch);
    if (status < 0 && (err->code == RUNNER_E_NOMEM || err->code == RUNNER_E_CANCELLED || err->code == RUNNER_E_TIMEOUT))
        return -1;
    if (status < 0 && err->code != RUNNER_E_NOTSUP) {
        finding.level = RUNNER_FINDING_SKIP;
        finding.text = text = mem_printf("not tried: %s", err->message);
    } else if (status < 0) {
        finding.level = reflink->copies ? RUNNER_FINDING_WARN : RUNNER_FINDING_FAIL;
        finding.text = reflink->copies ? "blocks are not shared: each create copies a whole image"
                                       : "blocks cannot be shared: no disk can be made without `copy: true`";
    }
    error_clear(err);
    say(ctx, &finding);
    return 0;
}

static const struct runner_disk_ops ops = {
    .clone = reflink_clone,
    .remove = reflink_remove,
    .inspect = disk_inspect,
    .grow = disk_grow,
};

static const struct runner_param params[] = {
    {.name = "copy",
     .dflt = "false",
     .doc = "copy the whole image where the file system cannot share blocks; false: such a create fails",
     .type = RUNNER_T_BOOL},
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_DISK, "reflink", ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_DISK_CAP_COW | RUNNER_DISK_CAP_INSPECT | RUNNER_DISK_CAP_GROW,
    .version = "1.0",
    .summary = "raw images that share blocks with their base, where the file system can (XFS, Btrfs)",
    .params = params,
    .n_params = ARRAY_LEN(params),
    .load = disk_load,
    .create = reflink_create,
    .destroy = reflink_destroy,
    .diagnose = reflink_diagnose,
};
RUNNER_PLUGIN(plugin)
