#include "plugins/vmm/qemu/host.h"

int host_add_path(const struct qemu *self, struct runner_batch *batch, uint32_t kind, uint32_t flags, int64_t number,
                  const char *path, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = kind, .flags = flags, .number = number, .path = path};

    return self->host->add(batch, &step, err);
}

int host_add_run(const struct qemu *self, struct runner_batch *batch, const struct args *args, int64_t limit_ms,
                 struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = (const char *const *)args->words, .number = limit_ms};

    return self->host->add(batch, &step, err);
}

char *host_text(const struct qemu *self, const struct runner_batch *batch, int index)
{
    const struct runner_result *result = self->host->result(batch, index);

    return result->out != NULL ? mem_dup_n(result->out, result->len) : mem_dup("");
}

int host_add_write(const struct qemu *self, struct runner_batch *batch, const char *path, const void *data, size_t len,
                   bool is_undone, struct runner_error *err)
{
    const struct runner_step remove = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .path = path,
                                      .data = data,
                                      .len = len,
                                      .number = 0644,
                                      .undo = is_undone ? &remove : NULL};

    return self->host->add(batch, &write, err);
}
