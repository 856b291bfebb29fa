/*
 * storage/shelf, for tests of what core does with images: an object is a directory <dir>/<ref> on the host, with
 *   digest       64 hexadecimal digits
 *   disk.raw     what a pull makes a base of
 *   size         bytes that it says that it has; absent: 1 MiB
 *   content      bytes that it says that are in its disk; absent: 1 MiB
 *   image.json   how it wants to be run; may be absent
 *   hold         while it is empty, a pull waits until something is written to it; may be absent
 *   password     what a pull has to bring; may be absent
 *   fail         what goes wrong: a code of RUNNER_E_* and a text; may be absent
 * and each pull leaves a file of its own in <dir>/pulls. Steps of the host's transport do it all, as with any plugin.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define TEXT_LIMIT 65536

static const struct runner_host *host;
static atomic_uint pulls;

struct shelf {
    char *dir;
};

static const struct runner_param shelf_params[] = {
    {.name = "dir", .doc = "where the objects are", .type = RUNNER_T_PATH, .flags = RUNNER_P_REQUIRED},
};

static int shelf_load(const struct runner_host *table, struct runner_error *err)
{
    (void)err;
    host = table;
    return 0;
}

static void shelf_destroy(void *self)
{
    struct shelf *shelf = self;

    if (shelf != NULL)
        free(shelf->dir);
    free(shelf);
}

static int shelf_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct shelf *shelf = mem_alloc(sizeof *shelf);

    (void)err;
    for (size_t i = 0; i < n; i++)
        shelf->dir = mem_dup(values[i].text);
    *ret_self = shelf;
    return 0;
}

/* ---- steps ---- */

static char *path_of(const struct shelf *shelf, const char *ref, const char *file)
{
    return mem_printf("%s/%s%s%s", shelf->dir, ref, file[0] != '\0' ? "/" : "", file);
}

/* Runs one step; what it put out is the caller's to free, "" when there is nothing. */
static int run(struct runner_call *call, const struct runner_step *step, char **ret_out, struct runner_error *err)
{
    struct runner_batch *batch = host->batch_new(call);
    int status = host->add(batch, step, err) < 0 || host->run(call, batch, err) < 0 ? -1 : 0;

    if (status == 0 && ret_out != NULL) {
        const struct runner_result *result = host->result(batch, 0);
        *ret_out = mem_dup(result->out != NULL ? result->out : "");
    }
    host->batch_free(batch);
    return status;
}

static int read_file(const struct shelf *shelf, struct runner_call *call, const char *ref, const char *file,
                     uint32_t flags, char **ret, struct runner_error *err)
{
    auto_free char *path = path_of(shelf, ref, file);
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = flags, .path = path, .number = TEXT_LIMIT};

    return run(call, &step, ret, err);
}

static int read_number(const struct shelf *shelf, struct runner_call *call, const char *ref, const char *file,
                       int64_t *ret, struct runner_error *err)
{
    auto_free char *text = NULL;

    if (read_file(shelf, call, ref, file, RUNNER_S_OPTIONAL, &text, err) < 0)
        return -1;
    *ret = text[0] != '\0' ? strtoll(text, NULL, 10) : 1 << 20;
    return 0;
}

static int clone(struct runner_call *call, const char *from, const char *to, struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_CLONE, .path = from, .to = to, .number = 0644};

    return run(call, &step, NULL, err);
}

static int make_dir(struct runner_call *call, const char *path, struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .flags = RUNNER_S_PARENTS, .path = path, .number = 0755};

    return run(call, &step, NULL, err);
}

/* ---- operations ---- */

static int shelf_inspect(void *self, struct runner_call *call, const struct runner_object *object,
                         struct runner_object_info *ret, struct runner_error *err)
{
    auto_free char *digest = NULL, *trouble = NULL;
    char *text;
    long code;

    if (read_file(self, call, object->ref, "fail", RUNNER_S_OPTIONAL, &trouble, err) < 0)
        return -1;
    code = strtol(trouble, &text, 10);
    if (code != 0)
        return fail(err, (int)code, 0, "%s", text);
    if (read_file(self, call, object->ref, "digest", 0, &digest, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? fail(err, RUNNER_E_NOTFOUND, 0, "no object '%s'", object->ref) : -1;
    (void)snprintf(ret->digest, sizeof ret->digest, "%.64s", digest);
    return read_number(self, call, object->ref, "size", &ret->size_bytes, err);
}

static int shelf_copy(void *self, struct runner_call *call, const struct runner_object *from,
                      const struct runner_object *to, runner_progress_fn *progress, void *ctx,
                      struct runner_object_info *ret, struct runner_error *err)
{
    static const char *const files[] = {"disk.raw", "image.json", "size", "digest"}; /* absent ones but the first are fine */
    auto_free char *dir = path_of(self, to->ref, "");

    (void)progress, (void)ctx;
    if (shelf_inspect(self, call, from, ret, err) < 0 || make_dir(call, dir, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        auto_free char *source = path_of(self, from->ref, files[i]), *target = path_of(self, to->ref, files[i]);
        if (clone(call, source, target, err) < 0 && err->code != RUNNER_E_EXISTS &&
            (i == 0 || err->code != RUNNER_E_NOTFOUND))
            return -1;
        error_clear(err);
    }
    return 0;
}

static int note_pull(const struct shelf *shelf, struct runner_call *call, struct runner_error *err)
{
    auto_free char *dir = path_of(shelf, "pulls", "");
    auto_free char *path = mem_printf("%s/%" PRId64 "-%u", dir, num_now_us(), atomic_fetch_add(&pulls, 1));
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .flags = RUNNER_S_EXCL, .path = path, .number = 0644};

    return make_dir(call, dir, err) < 0 ? -1 : run(call, &step, NULL, err);
}

static int hold(const struct shelf *shelf, struct runner_call *call, const char *ref, struct runner_error *err)
{
    auto_free char *path = path_of(shelf, ref, "hold");
    const struct runner_step stat = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = path, .number = TEXT_LIMIT};
    const struct runner_step wait = {.size = RUNNER_STEP_INIT, .kind = RUNNER_WAIT, .path = path};
    struct runner_batch *batch = host->batch_new(call);
    int status = host->add(batch, &stat, err) < 0 || host->run(call, batch, err) < 0 ? -1 : 0;
    bool is_there = status == 0 && host->result(batch, 0)->status == 0;

    host->batch_free(batch);
    return is_there ? run(call, &wait, NULL, err) : status;
}

/* As a registry that finds out late. */
static int check_password(const struct shelf *shelf, struct runner_call *call, const struct runner_object *object,
                          struct runner_error *err)
{
    auto_free char *wanted = NULL;

    if (read_file(shelf, call, object->ref, "password", RUNNER_S_OPTIONAL, &wanted, err) < 0)
        return -1;
    wanted[strcspn(wanted, "\n")] = '\0';
    if (wanted[0] == '\0' || (object->password != NULL && strcmp(wanted, object->password) == 0))
        return 0;
    return fail(err, RUNNER_E_DENIED, 0, "another password is needed for '%s'", object->ref);
}

static char *hand_over(const char *text)
{
    char *copy = host->alloc(strlen(text) + 1);

    if (copy != NULL)
        memcpy(copy, text, strlen(text) + 1);
    return copy;
}

static int shelf_pull(void *self, struct runner_call *call, const struct runner_object *object,
                      const struct runner_object *also, const char *dir, runner_progress_fn *progress, void *ctx,
                      struct runner_base *ret, struct runner_error *err)
{
    const struct runner_progress half = {
        .size = sizeof half, .phase = "fetch", .done_bytes = 1 << 19, .total_bytes = 1 << 20};
    auto_free char *from = path_of(self, object->ref, "disk.raw"), *to = mem_printf("%s/disk.raw", dir);
    auto_free char *image = NULL;
    struct runner_object_info copied = {.size = sizeof copied};

    progress(ctx, &half);
    if (shelf_inspect(self, call, object, &ret->info, err) < 0 || note_pull(self, call, err) < 0 ||
        hold(self, call, object->ref, err) < 0 || check_password(self, call, object, err) < 0 || clone(call, from, to, err) < 0 ||
        read_file(self, call, object->ref, "image.json", RUNNER_S_OPTIONAL, &image, err) < 0 ||
        read_number(self, call, object->ref, "content", &ret->content_bytes, err) < 0 ||
        (also != NULL && shelf_copy(self, call, object, also, progress, ctx, &copied, err) < 0))
        return -1;
    ret->disk = hand_over("disk.raw");
    ret->format = hand_over("raw");
    ret->image_json = hand_over(image[0] != '\0' ? image : "{}");
    ret->size_bytes = 1 << 26;
    return 0;
}

static int shelf_remove(void *self, struct runner_call *call, const struct runner_object *object,
                        struct runner_error *err)
{
    auto_free char *path = path_of(self, object->ref, "");
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = path};

    return run(call, &step, NULL, err);
}

/* The digest of a disk is that of its bytes, and its size that of the file. */
static int measure(struct runner_call *call, const char *path, struct runner_object_info *ret, struct runner_error *err)
{
    const char *const argv[] = {"sha256sum", "-b", "--", path, NULL};
    const struct runner_step sum = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, .argv = argv};
    const struct runner_step stat = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};
    struct runner_batch *batch = host->batch_new(call);
    int status = host->add(batch, &stat, err) < 0 || host->add(batch, &sum, err) < 0 || host->run(call, batch, err) < 0
                     ? -1
                     : 0;

    if (status == 0 && host->result(batch, 0)->status != 0)
        status = fail(err, RUNNER_E_NOTFOUND, 0, "disk '%s'", path);
    if (status == 0 && host->result(batch, 1)->len < 64)
        status = fail(err, RUNNER_E_IO, 0, "sha256sum says nothing of '%s'", path);
    if (status == 0) {
        (void)snprintf(ret->digest, sizeof ret->digest, "%.64s", host->result(batch, 1)->out);
        ret->size_bytes = host->result(batch, 0)->number;
    }
    host->batch_free(batch);
    return status;
}

static int write_file(const struct shelf *shelf, struct runner_call *call, const char *ref, const char *file,
                      const char *text, struct runner_error *err)
{
    auto_free char *path = path_of(shelf, ref, file);
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_WRITE,
                                     .path = path,
                                     .data = text,
                                     .len = strlen(text),
                                     .number = 0644};

    return run(call, &step, NULL, err);
}

/* Its digest comes last: without it there is no object. */
static int shelf_push(void *self, struct runner_call *call, const char *path, const char *format,
                      const char *image_json, const struct runner_object *to, runner_progress_fn *progress, void *ctx,
                      struct runner_object_info *ret, struct runner_error *err)
{
    auto_free char *dir = path_of(self, to->ref, ""), *disk = path_of(self, to->ref, "disk.raw"), *size = NULL;

    (void)progress, (void)ctx;
    if (strcmp(format, "raw") != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "only raw disks are put on this shelf, not %s", format);
    if (measure(call, path, ret, err) < 0 || shelf_remove(self, call, to, err) < 0 || make_dir(call, dir, err) < 0 ||
        clone(call, path, disk, err) < 0)
        return -1;
    size = mem_printf("%" PRId64, ret->size_bytes);
    return write_file(self, call, to->ref, "size", size, err) < 0 ||
                   write_file(self, call, to->ref, "image.json", image_json, err) < 0 ||
                   write_file(self, call, to->ref, "digest", ret->digest, err) < 0
               ? -1
               : 0;
}

static const struct runner_storage_ops shelf_ops = {.inspect = shelf_inspect,
                                                    .pull = shelf_pull,
                                                    .push = shelf_push,
                                                    .copy = shelf_copy,
                                                    .remove = shelf_remove};

static const struct runner_plugin shelf_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_STORAGE, "shelf", shelf_ops),
    .threads = RUNNER_PARALLEL,
    .n_params = ARRAY_LEN(shelf_params),
    .params = shelf_params,
    .version = "1.0~Test_1", /* no two are alike in what they take for a version */
    .summary = "objects in a directory of the host, for tests",
    .load = shelf_load,
    .create = shelf_create,
    .destroy = shelf_destroy,
};

RUNNER_PLUGIN(shelf_plugin)
