/*
 * disk/rawcopy: a sample of a third party's plugin. A sandbox's disk is a raw copy of a raw base image, grown to the quota.
 * It needs runner-plugin.h and nothing else of runner-ch; the Makefile beside it builds it anywhere.
 */
#include <runner-plugin.h>
#include <stdio.h>
#include <string.h>

#define REFUSE(err, why, ...) /* fills err; -1 */                                                                      \
    ((err)->code = (why), (void)snprintf((err)->message, sizeof(err)->message, __VA_ARGS__), -1)

static const struct runner_host *host;

static int load(const struct runner_host *services, struct runner_error *err)
{
    host = services;
    return 0;
}

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    *ret_self = &host; /* no state of its own, but NULL would say that there is no instance */
    return 0;
}

static void destroy(void *self)
{
}

static char *disk_path(const struct runner_disk *disk) /* from host->alloc: core releases what a clone returns */
{
    size_t size = strlen(disk->dir) + sizeof "/disk.raw";
    char *path = host->alloc(size);
    return path && snprintf(path, size, "%s/disk.raw", disk->dir) > 0 ? path : NULL;
}

/* A planner: it adds steps, and core has them carried out, or undone. */
static int clone_disk(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_disk *disk,
                      struct runner_image *ret, struct runner_error *err)
{
    char *path = disk_path(disk), *format = host->alloc(sizeof "raw");
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step copy = {RUNNER_STEP_INIT, .kind = RUNNER_CLONE, .path = disk->base->path, .to = path,
                               .number = 0600, .undo = &undo};
    struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = path, .number = disk->size_bytes};

    if (path == NULL || format == NULL) {
        (void)REFUSE(err, RUNNER_E_NOMEM, "out of memory");
    } else if (strcmp(disk->base->format, "raw") != 0 || disk->base->size_bytes > disk->size_bytes) {
        (void)REFUSE(err, RUNNER_E_INVALID, "'%s' is not raw, or larger than the disk", disk->base->path);
    } else if (host->add(batch, &copy, err) >= 0 && host->add(batch, &grow, err) >= 0) {
        *ret = (struct runner_image){.size = ret->size, .path = path, .size_bytes = disk->size_bytes,
                                     .format = memcpy(format, "raw", sizeof "raw")};
        return 0;
    }
    host->release(path);
    host->release(format);
    return -1;
}

static int remove_disk(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_disk *disk,
                       struct runner_error *err)
{
    char *path = disk_path(disk);
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    int index = path ? host->add(batch, &step, err) : REFUSE(err, RUNNER_E_NOMEM, "out of memory");

    host->release(path);
    return index < 0 ? -1 : 0;
}

static const struct runner_disk_ops ops = {.clone = clone_disk, .remove = remove_disk};
static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_DISK, "rawcopy", ops), .threads = RUNNER_PARALLEL, .version = "0.1",
    .summary = "raw copies of raw images", .load = load, .create = create, .destroy = destroy};
RUNNER_PLUGIN(plugin)
