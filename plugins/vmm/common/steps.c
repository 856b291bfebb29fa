#include "plugins/vmm/common/steps.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/vmm/common/probe-guest.h"

int steps_add_path(const struct runner_host *host, struct runner_batch *batch, uint32_t kind, uint32_t flags,
                   int64_t number, const char *path, struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = kind, .flags = flags, .number = number, .path = path};

    return host->add(batch, &step, err);
}

char *steps_text(const struct runner_host *host, const struct runner_batch *batch, int index)
{
    const struct runner_result *result = host->result(batch, index);

    return result != NULL && result->out != NULL ? mem_dup_n(result->out, result->len) : mem_dup("");
}

int steps_add_write(const struct runner_host *host, struct runner_batch *batch, const char *path, const void *data,
                    size_t len, bool is_undone, struct runner_error *err)
{
    const struct runner_step remove = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .path = path,
                                      .data = data,
                                      .len = len,
                                      .number = 0644,
                                      .undo = is_undone ? &remove : NULL};

    return host->add(batch, &write, err);
}

/* ---- whole batches ---- */

char *steps_output_of(const struct runner_host *host, struct runner_call *call, const char *const *argv,
                      int64_t limit_ms, struct runner_error *err)
{
    const struct runner_step run = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv, .number = limit_ms};
    struct runner_batch *batch = host->batch_new(call);
    char *out = NULL;

    if (batch == NULL)
        (void)fail(err, RUNNER_E_NOMEM, 0, "batch");
    else if (host->add(batch, &run, err) >= 0 && host->run(call, batch, err) == 0)
        out = steps_text(host, batch, 0);
    host->batch_free(batch);
    return out;
}

/* The step `index` is the guest's; -1: not all of the batch could be added, err says why. */
static int run_guest(const struct runner_host *host, struct runner_call *call, struct runner_batch *batch, int index,
                     struct runner_error *err)
{
    auto_free char *out = NULL;

    if (index < 0 || host->run(call, batch, err) < 0)
        return -1;
    out = steps_text(host, batch, index);
    if (strstr(out, PROBE_MARKER) == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "the guest ended without a word");
    return 0;
}

int steps_run_guest(const struct runner_host *host, struct runner_call *call, const struct runner_step *run,
                    struct runner_error *err)
{
    struct runner_batch *batch = host->batch_new(call);
    int status;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    status = run_guest(host, call, batch, host->add(batch, run, err), err);
    host->batch_free(batch);
    return status;
}

int steps_run_guest_at(const struct runner_host *host, struct runner_call *call, const char *path, const void *guest,
                       size_t size, const struct runner_step *run, struct runner_error *err)
{
    struct runner_batch *batch = host->batch_new(call);
    int index, status = -1;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    if (steps_add_write(host, batch, path, guest, size, true, err) >= 0 && (index = host->add(batch, run, err)) >= 0 &&
        steps_add_path(host, batch, RUNNER_REMOVE, 0, 0, path, err) >= 0)
        status = run_guest(host, call, batch, index, err);
    host->batch_free(batch);
    return status;
}
