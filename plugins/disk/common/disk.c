#include "plugins/disk/common/disk.h"

#include <string.h>

#include "core/util/str.h"
#include "plugins/disk/common/grow.h"
#include "plugins/disk/common/inspect.h"

const struct runner_host *disk_host;

int disk_load(const struct runner_host *services, struct runner_error *err)
{
    (void)err;
    disk_host = services;
    return 0;
}

int disk_check_base(const struct runner_disk *disk, struct runner_error *err)
{
    if (disk->base->size_bytes > disk->size_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "base image '%s' of %lld bytes is larger than the disk of %lld bytes",
                    disk->base->path, (long long)disk->base->size_bytes, (long long)disk->size_bytes);
    return 0;
}

int disk_add_removal(struct runner_batch *batch, const char *path, struct runner_error *err)
{
    const struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

    return disk_host->add(batch, &step, err) < 0 ? -1 : 0;
}

static char *host_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = disk_host->alloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

int disk_hand_over(const struct runner_image *image, struct runner_image *ret, struct runner_error *err)
{
    const char *const texts[] = {image->path, image->format, image->backing_path, image->backing_format};
    char *own[ARRAY_LEN(texts)] = {NULL};
    struct runner_image made = {.size = ret->size, .size_bytes = image->size_bytes};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        own[i] = texts[i] != NULL ? host_copy(texts[i]) : NULL;
        if (texts[i] == NULL || own[i] != NULL)
            continue;
        while (i-- > 0)
            disk_host->release(own[i]);
        return fail(err, RUNNER_E_NOMEM, 0, "image '%s'", image->path);
    }
    made.path = own[0];
    made.format = own[1];
    made.backing_path = own[2];
    made.backing_format = own[3];
    *ret = made;
    return 0;
}

void disk_take_back(const struct runner_image *image)
{
    disk_host->release((void *)image->path);
    disk_host->release((void *)image->format);
    disk_host->release((void *)image->backing_path);
    disk_host->release((void *)image->backing_format);
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
    if (disk_host->add(batch, &step, err) < 0 || disk_host->run(call, batch, err) < 0)
        return -1;
    result = disk_host->result(batch, 0);
    return inspect_head(result->out, result->len, result->number, ret, err) < 0 ? error_wrap(err, "'%s'", path) : 0;
}

int disk_inspect(void *self, struct runner_call *call, const char *path, struct runner_image *ret_image,
                 struct runner_error *err)
{
    auto_inspected struct inspected found = {.size_bytes = 0};
    struct runner_batch *batch = disk_host->batch_new(call);
    int status = read_head(batch, call, path, &found, err);
    auto_free char *backing = absolute(path, found.backing_path);
    const struct runner_image image = {.path = path,
                                       .format = found.is_qcow2 ? "qcow2" : "raw",
                                       .backing_path = backing,
                                       .backing_format = found.backing_format,
                                       .size_bytes = found.size_bytes};

    (void)self;
    disk_host->batch_free(batch);
    return status < 0 ? -1 : disk_hand_over(&image, ret_image, err);
}

/* ---- growing ---- */

static int add_growth(struct runner_batch *looked, struct runner_call *call, struct runner_batch *batch,
                      const struct runner_image *image, int64_t size_bytes, struct runner_error *err)
{
    const struct runner_step read = {RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_HEAD, .path = image->path,
                                     .number = GROW_HEAD};
    struct runner_step patch = {RUNNER_STEP_INIT,    .kind = RUNNER_PATCH, .flags = RUNNER_S_SYNC,
                                .path = image->path, .len = GROW_BYTES,    .number = GROW_AT};
    const struct runner_result *result;
    char bytes[GROW_BYTES];
    int is_more;

    if (looked == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "look at '%s'", image->path);
    if (disk_host->add(looked, &read, err) < 0 || disk_host->run(call, looked, err) < 0)
        return -1;
    result = disk_host->result(looked, 0);
    is_more = grow_head(result->out, result->len, size_bytes, bytes, err);
    if (is_more < 0)
        return error_wrap(err, "'%s'", image->path);
    patch.data = bytes;
    return is_more > 0 && disk_host->add(batch, &patch, err) < 0 ? -1 : 0;
}

int disk_grow(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_image *image,
              int64_t size_bytes, struct runner_error *err)
{
    const struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = image->path, .number = size_bytes};
    struct runner_batch *looked;
    int status;

    (void)self;
    if (strcmp(image->format, "raw") == 0)
        return disk_host->add(batch, &grow, err) < 0 ? -1 : 0;
    if (strcmp(image->format, "qcow2") != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "'%s': images of format '%s' cannot grow", image->path, image->format);
    looked = disk_host->batch_new(call);
    status = add_growth(looked, call, batch, image, size_bytes, err);
    disk_host->batch_free(looked);
    return status;
}
