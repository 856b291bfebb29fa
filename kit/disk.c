/* Disks: what clone and remove promise. */
#include <string.h>

#include "core/util/text.h"
#include "kit/general.h"
#include "kit/guard.h"
#include "kit/plan.h"

#define OLDEST_SIZE(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

enum { BASE_BYTES = 3 << 20, DISK_BYTES = 16 << 20 };

static const struct runner_disk_ops *ops_of(const struct subject *s)
{
    return s->plugin->desc.ops;
}

/* ---- requests ---- */

struct request {
    struct runner_disk *disk;
    struct runner_image *base, *image;
};

static struct request request_make(struct subject *s, enum layout layout, int64_t disk_bytes)
{
    const size_t image_size = OLDEST_SIZE(struct runner_image, size_bytes);
    struct runner_image base = {.flags = RUNNER_I_READONLY, .path = s->base_path, .format = "raw",
                                .size_bytes = BASE_BYTES};
    struct runner_image none = {.size = 0};
    struct request r;

    guard_reset();
    r.base = guard_put(layout, &base, sizeof base, image_size);
    r.image = guard_put(layout, &none, sizeof none, image_size);
    r.disk = guard_put(layout,
                       &(struct runner_disk){
                           .id = "sb1", .dir = s->sandbox_dir, .base = r.base, .size_bytes = disk_bytes},
                       sizeof *r.disk, OLDEST_SIZE(struct runner_disk, size_bytes));
    return r;
}

static void image_release(const struct runner_image *image)
{
    fake_host()->release((void *)(uintptr_t)image->path);
    fake_host()->release((void *)(uintptr_t)image->format);
    fake_host()->release((void *)(uintptr_t)image->backing_path);
    fake_host()->release((void *)(uintptr_t)image->backing_format);
}

static void call_clone(struct subject *s, struct trial *t, int64_t disk_bytes)
{
    struct request r = request_make(s, t->layout, disk_bytes);
    struct runner_batch *batch = fake_batch();
    struct runner_image image = {.size = 0};

    TRY(t, ops_of(s)->clone(s->self, fake_call(), batch, r.disk, r.image, &t->err));
    if (!guard_take(r.image, &image, sizeof image))
        flaw("clone writes beyond the image that it knows");
    if (t->status == 0)
        image_release(&image);
    fake_host()->batch_free(batch);
}

static void op_clone(struct subject *s, struct trial *t)
{
    call_clone(s, t, DISK_BYTES);
}

static void op_clone_too_large(struct subject *s, struct trial *t)
{
    call_clone(s, t, BASE_BYTES - 512);
}

static void op_remove(struct subject *s, struct trial *t)
{
    struct request r = request_make(s, t->layout, DISK_BYTES);
    struct runner_batch *batch = fake_batch();

    TRY(t, ops_of(s)->remove(s->self, fake_call(), batch, r.disk, &t->err));
    fake_host()->batch_free(batch);
}

/* Of the base image, as another program may have made one. */
static void op_inspect(struct subject *s, struct trial *t)
{
    struct request r = request_make(s, t->layout, DISK_BYTES);
    struct runner_image image = {.size = 0};

    TRY(t, ops_of(s)->inspect(s->self, fake_call(), s->base_path, r.image, &t->err));
    if (!guard_take(r.image, &image, sizeof image))
        flaw("inspect writes beyond the image that it knows");
    if (t->status == 0 && (image.path == NULL || image.format == NULL || image.size_bytes <= 0))
        flaw("inspect says nothing of a raw image of %d bytes", BASE_BYTES);
    if (t->status == 0)
        image_release(&image);
}

static void op_grow(struct subject *s, struct trial *t)
{
    struct request r = request_make(s, t->layout, DISK_BYTES);
    struct runner_batch *batch = fake_batch();

    TRY(t, ops_of(s)->grow(s->self, fake_call(), batch, r.base, DISK_BYTES, &t->err));
    fake_host()->batch_free(batch);
}

/* ---- plans ---- */

static void add_clone(struct subject *s, struct runner_batch *batch, struct runner_image *ret)
{
    struct request r = request_make(s, TODAY, DISK_BYTES);
    struct runner_error err = ERROR_INIT;

    if (ops_of(s)->clone(s->self, fake_call(), batch, r.disk, r.image, &err) != 0)
        stop_point("clone: %s", err.message);
    (void)guard_take(r.image, ret, sizeof *ret);
}

static struct runner_batch *plan_clone(struct subject *s)
{
    struct runner_batch *batch = plan_begin(s);
    struct runner_image image;

    add_clone(s, batch, &image);
    image_release(&image);
    return batch;
}

static void point_clone_paths(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_paths(s, plan_clone, s->sandbox_dir);
}

static void point_clone_undo(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_undo(s, plan_clone, "dfspt", "dfspt");
}

/* ---- what clone says that it made ---- */

static const char *or_none(const char *text)
{
    return text != NULL ? text : "(none)";
}

static void check_image(struct subject *s, const struct runner_image *image)
{
    const char *file;

    if (image->path == NULL || !text_starts(image->path, s->sandbox_dir, &file) || *file != '/' ||
        strchr(file + 1, '/') != NULL)
        flaw("the image's path is %s, not a file of %s", or_none(image->path), s->sandbox_dir);
    if (image->format == NULL || (strcmp(image->format, "raw") != 0 && strcmp(image->format, "qcow2") != 0))
        flaw("the image's format is %s, neither raw nor qcow2", or_none(image->format));
    if (image->size_bytes != DISK_BYTES)
        flaw("the image has %lld bytes, %d were wanted", (long long)image->size_bytes, DISK_BYTES);
    if (image->flags & RUNNER_I_READONLY)
        flaw("the image is read-only");
    if ((image->backing_path == NULL) != (image->backing_format == NULL))
        flaw("the image has a backing path or format without the other");
    if (image->backing_path != NULL && strcmp(image->backing_path, s->base_path) != 0)
        flaw("the image's backing file is %s, not the base", image->backing_path);
}

static void point_clone_image(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_begin(s);
    struct runner_image image = {.size = 0};

    (void)point;
    add_clone(s, batch, &image);
    check_image(s, &image);
    if (plan_run(batch, "clone") && image.path != NULL && world_file_size(s->world, image.path) < 0)
        flaw("the steps do not make %s", image.path);
    image_release(&image);
    fake_host()->batch_free(batch);
}

/* ---- remove ---- */

static void remove_and_run(struct subject *s, const char *when)
{
    struct runner_batch *batch = fake_batch();
    struct request r = request_make(s, TODAY, DISK_BYTES);
    struct runner_error err = ERROR_INIT;

    if (ops_of(s)->remove(s->self, fake_call(), batch, r.disk, &err) != 0)
        flaw("remove %s fails: %s", when, err.message);
    else
        (void)plan_run(batch, when);
    fake_host()->batch_free(batch);
}

static void point_remove_twice(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_clone(s);
    auto_free char *before = world_text(s->world, "dfspt"), *after = NULL;

    (void)point;
    if (plan_run(batch, "clone")) {
        remove_and_run(s, "of the disk");
        after = world_text(s->world, "dfspt");
        if (strcmp(before, after) != 0)
            flaw("removed, there is on the host:\n%sand before there was:\n%s", after, before);
        remove_and_run(s, "once more");
    }
    fake_host()->batch_free(batch);
    subject_renew(s);
    remove_and_run(s, "of a disk that never was");
}

/* ---- grow ---- */

static void grow_and_run(struct subject *s, const struct runner_image *image, int64_t size_bytes, const char *when)
{
    struct runner_batch *batch = fake_batch();
    struct runner_error err = ERROR_INIT;

    if (ops_of(s)->grow(s->self, fake_call(), batch, image, size_bytes, &err) != 0)
        flaw("grow %s fails: %s", when, err.message);
    else
        (void)plan_run(batch, when);
    fake_host()->batch_free(batch);
}

static void look_at_grown(struct subject *s, const char *path)
{
    struct runner_image image = {.size = sizeof image};
    struct runner_error err = ERROR_INIT;

    if (!(s->plugin->desc.caps & RUNNER_DISK_CAP_INSPECT))
        return;
    if (ops_of(s)->inspect(s->self, fake_call(), path, &image, &err) != 0)
        stop_point("inspect: %s", err.message);
    if (image.size_bytes != 4 * (int64_t)DISK_BYTES)
        flaw("grown, the image has %lld bytes", (long long)image.size_bytes);
    image_release(&image);
}

static void point_grow(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_begin(s), *less = fake_batch();
    struct runner_image image = {.size = 0};
    struct runner_error err = ERROR_INIT;

    (void)point;
    add_clone(s, batch, &image);
    if (plan_run(batch, "clone")) {
        grow_and_run(s, &image, 4 * (int64_t)DISK_BYTES, "of the disk");
        look_at_grown(s, image.path);
        grow_and_run(s, &image, 4 * (int64_t)DISK_BYTES, "once more");
        look_at_grown(s, image.path);
        if (ops_of(s)->grow(s->self, fake_call(), less, &image, DISK_BYTES, &err) == 0 &&
            fake_host()->run(fake_call(), less, &err) == 0)
            flaw("grow makes a disk smaller");
        look_at_grown(s, image.path);
    }
    image_release(&image);
    fake_host()->batch_free(less);
    fake_host()->batch_free(batch);
}

/* ---- at once ---- */

static char *clone_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    const struct runner_image base = {.size = sizeof base, .flags = RUNNER_I_READONLY, .path = s->base_path,
                                      .format = "raw", .size_bytes = BASE_BYTES};
    struct runner_disk disk = {.size = sizeof disk, .id = "sb1", .dir = s->sandbox_dir, .base = &base};
    struct str text = STR_INIT;

    for (int i = 0; i < 50; i++) {
        struct runner_batch *batch = fake_batch();
        struct runner_image image = {.size = sizeof image};
        struct runner_error err = ERROR_INIT;
        auto_free char *plan = NULL;

        disk.size_bytes = DISK_BYTES + 4096 * (int64_t)(i + 50 * (int)thread); /* each thread its own sizes */
        if (ops_of(s)->clone(self, call, batch, &disk, &image, &err) != 0)
            flaw("clone on thread %zu: %s", thread, err.message);
        else
            image_release(&image);
        plan = fake_batch_text(batch);
        str_add(&text, plan);
        fake_host()->batch_free(batch);
    }
    return str_steal(&text);
}

static void point_parallel(struct subject *s, const struct point *point)
{
    (void)point;
    subject_renew(s);
    plan_check_at_once(s, clone_at_once, "clone");
}

static void add_points(struct checklist *list, const struct plugin *plugin)
{
    checklist_add(list, "clone.image", "the image is in the directory, and as large as asked", point_clone_image);
    checklist_add(list, "clone.paths", "what the steps make is within the directory", point_clone_paths);
    checklist_add(list, "clone.undo", "undone, at any step and twice, nothing is left", point_clone_undo);
    checklist_add(list, "remove.twice", "removed, nothing is left; what is absent can be removed", point_remove_twice);
    if (plugin == NULL || (plugin->desc.caps & RUNNER_DISK_CAP_GROW))
        checklist_add(list, "grow.twice", "grown, it is that large, once more too, and never smaller", point_grow);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
}

static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "clone", .call = op_clone},
    {.name = "clone-too-large", .call = op_clone_too_large, .refuses = RUNNER_E_INVALID},
    {.name = "remove", .call = op_remove},
    {.name = "inspect", .flags = OP_MAY_FAIL, .call = op_inspect},
    {.name = "grow", .flags = OP_MAY_FAIL, .call = op_grow},
};
const struct kind kind_disk = {ops, ARRAY_LEN(ops), add_points};
