/* Objects that a process gives, wrong in one way each. See wrong.h. */
#include "t/plugin/wrong/wrong.h"

#define DIGEST  "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
#define SHOUTED "5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03"

static void destroy(void *self)
{
    free(self);
}

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n;
    *ret_self = calloc(1, 1);
    return *ret_self != NULL ? 0 : refuse(err, RUNNER_E_NOMEM, "out of memory");
}

/* The process is given the password, works, and is ended. */
static int work(struct runner_call *call, const struct runner_object *object, struct runner_error *err)
{
    const struct runner_spawn how = {.size = sizeof how, .pid_path = "/run/wrong.pid"};
    const char *const argv[] = {"/usr/bin/wrong", NULL};
    const struct runner_step kill = {.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = how.pid_path, .number = 9};
    const struct runner_step spawn = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_SPAWN,
                                      .flags = is_wrong("shows-password") ? 0 : RUNNER_S_SECRET,
                                      .argv = argv,
                                      .spawn = &how,
                                      .data = object->password,
                                      .len = strlen(object->password),
                                      .undo = &kill};
    struct runner_batch *batch = host->batch_new(call);
    int status;

    if (batch == NULL)
        return refuse(err, RUNNER_E_NOMEM, "out of memory");
    status = host->add(batch, &spawn, err) < 0 || (!is_wrong("leaves-process") && host->add(batch, &kill, err) < 0)
                 ? -1
                 : host->run(call, batch, err);
    host->batch_free(batch);
    return status;
}

static int say_info(struct runner_object_info *ret)
{
    (void)snprintf(ret->digest, sizeof ret->digest, "%s", is_wrong("shouts-digest") ? SHOUTED : DIGEST);
    ret->size_bytes = 6;
    return 0;
}

static int inspect(void *self, struct runner_call *call, const struct runner_object *object,
                   struct runner_object_info *ret, struct runner_error *err)
{
    (void)self;
    return work(call, object, err) < 0 ? -1 : say_info(ret);
}

static int pull(void *self, struct runner_call *call, const struct runner_object *object,
                const struct runner_object *also, const char *dir, runner_progress_fn *progress, void *ctx,
                struct runner_base *ret, struct runner_error *err)
{
    const struct runner_progress half = {
        .size = sizeof half, .phase = "fetch", .done_bytes = is_wrong("counts-beyond") ? 13 : 3, .total_bytes = 6};
    char *disk, *format;

    (void)self, (void)dir;
    if (work(call, object, err) < 0 || (also != NULL && work(call, also, err) < 0))
        return -1;
    progress(ctx, &half);
    disk = host_text(is_wrong("names-path") ? "/tmp/disk.raw" : "disk.raw");
    format = host_text("raw");
    if (disk == NULL || format == NULL) {
        host->release(disk);
        host->release(format);
        return refuse(err, RUNNER_E_NOMEM, "out of memory");
    }
    ret->disk = disk;
    ret->format = format;
    ret->image_json = NULL;
    ret->size_bytes = 512;
    ret->content_bytes = 6;
    return say_info(&ret->info);
}

static int push(void *self, struct runner_call *call, const char *path, const char *format, const char *image_json,
                const struct runner_object *to, runner_progress_fn *progress, void *ctx, struct runner_object_info *ret,
                struct runner_error *err)
{
    (void)path, (void)format, (void)image_json, (void)progress, (void)ctx;
    return inspect(self, call, to, ret, err);
}

static int copy(void *self, struct runner_call *call, const struct runner_object *from, const struct runner_object *to,
                runner_progress_fn *progress, void *ctx, struct runner_object_info *ret, struct runner_error *err)
{
    (void)from, (void)progress, (void)ctx;
    return inspect(self, call, to, ret, err);
}

static int removed(void *self, struct runner_call *call, const struct runner_object *object, struct runner_error *err)
{
    (void)self;
    return work(call, object, err);
}

static const struct runner_storage_ops ops = {inspect, pull, push, copy, removed};

static struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_STORAGE, NULL, ops),
    .threads = RUNNER_SERIAL,
    .version = "0.1",
    .summary = "one object, in a wrong way",
    .load = load,
    .create = create,
    .destroy = destroy,
};

WRONG_PLUGIN(plugin, (void)0)
