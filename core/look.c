#include "core/look.h"

#include <string.h>

#include "core/batch.h"
#include "core/util/error.h"

/* NULL: the step failed. Else valid as long as the batch. */
static const struct runner_result *do_step(struct runner_call *call, struct runner_batch *batch,
                                           const struct runner_step *step, struct runner_error *err)
{
    return batch_run_step(call, batch, step, err) < 0 ? NULL : batch_result(batch, 0);
}

char *look_read(struct runner_call *call, const char *path, int64_t max)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_READ,
                                     .flags = RUNNER_S_OPTIONAL | RUNNER_S_TAIL,
                                     .path = path,
                                     .number = max};
    const struct runner_result *result = do_step(call, batch, &step, NULL);

    return result != NULL && result->status == 0 ? mem_dup_n(result->out, result->len) : NULL;
}

bool look_is_there(struct runner_call *call, const char *path)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};
    const struct runner_result *result = do_step(call, batch, &step, NULL);

    return result != NULL && result->status == 0;
}

size_t look_count(struct runner_call *call, const char *path)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = path};
    const struct runner_result *result = do_step(call, batch, &step, NULL);
    size_t n = 0;

    if (result == NULL || result->status != 0)
        return 0;
    for (size_t i = 0; i < result->len; i++)
        n += result->out[i] == '\0';
    return n;
}

int look_run(struct runner_call *call, const char *const *argv, char **ret_out, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .flags = RUNNER_S_ANY_STATUS,
                                     .argv = argv,
                                     .number = LOOK_RUN_MS};
    const struct runner_result *result = do_step(call, batch, &step, err);

    if (result == NULL)
        return -1;
    if (ret_out != NULL)
        *ret_out = mem_dup_n(result->out != NULL ? result->out : "", result->len);
    return result->status;
}

int look_run_as(struct runner_call *call, uint32_t uid, const char *const *argv)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_spawn user = {.size = sizeof user, .uid = uid, .gid = uid};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .flags = RUNNER_S_ANY_STATUS,
                                     .argv = argv,
                                     .spawn = &user,
                                     .number = LOOK_RUN_MS};
    const struct runner_result *result = do_step(call, batch, &step, NULL);

    return result != NULL ? result->status : -1;
}

char *look_user(struct runner_call *call)
{
    static const char *const argv[] = {"id", "-un", NULL};
    char *name = NULL;

    if (look_run(call, argv, &name, NULL) != 0 || name[strcspn(name, "\n")] == '\0' || name[0] == '\n') {
        free(name);
        return mem_dup("USER");
    }
    name[strcspn(name, "\n")] = '\0';
    return name;
}

char *look_nearest(struct runner_call *call, const char *dir)
{
    char *path = mem_dup(dir), *slash;

    while (!look_is_there(call, path) && (slash = strrchr(path, '/')) != NULL && slash != path)
        *slash = '\0';
    if (look_is_there(call, path))
        return path;
    free(path);
    return mem_dup("/");
}
