/* A sandbox whose record could not be read when its host came up. Nobody knows what it has, and it is left alone: its
 * record is read again, or it is destroyed with what can be found. */
#include <string.h>

#include "core/log.h"
#include "core/mend.h"
#include "core/op.h"
#include "core/reconcile.h"
#include "core/takeover.h"
#include "core/util/error.h"
#include "core/util/text.h"

#define PROC_MAX 65536 /* bytes: a line for each hierarchy */

/* As it is on the host by now. */
static int read_record(struct op *op, struct record **ret, struct runner_error *err)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "runner.json");
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = path, .number = RECORD_MAX};
    const struct runner_result *result;

    if (batch_run_step(&op->call, batch, &step, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    return record_parse(result->out, result->len, op->id, ret, err);
}

int op_read_again(struct op *op, struct runner_error *err)
{
    auto_record struct record *record = NULL;

    if (read_record(op, &record, err) < 0 || reconcile_adopt(op->host, &op->call, record, err) < 0) {
        op_blame_host(err);
        return error_wrap(err, "its record cannot be read");
    }
    index_replace(op->engine->index, op->sandbox, record);
    index_set_unread(op->engine->index, op->sandbox, false);
    log_event(RUNNER_LOG_INFO, "reconcile.read_again", "id", op->id, "state",
              sandbox_state_name(op->sandbox->record->state), NULL);
    mend_known(op->engine, op->host, &op->call);
    return 0;
}

/* ---- destroyed unread ---- */

/* The last name in a line like "0::/runner-ch/63b1582ad9910581/one-b26a80d8", when it may be one of this sandbox's. */
static char *cgroup_of(const struct runner_result *file, const char *id)
{
    auto_free char *start = mem_printf("%.40s-", id);
    auto_free char *text = mem_printf("\n%.*s", (int)file->len, file->out);
    char *line = strstr(text, "\n0::"), *slash;

    if (line == NULL)
        return NULL;
    line[1 + strcspn(line + 1, "\n")] = '\0';
    slash = strrchr(line, '/');
    return slash != NULL && text_starts(slash + 1, start, NULL) && text_is_id(slash + 1) ? mem_dup(slash + 1) : NULL;
}

/* That of its process, while that lives. */
static int find_cgroup(struct op *op, char **ret, struct runner_error *err)
{
    auto_free char *pid_path = host_sandbox_path(op->host, op->id, "vmm.pid"), *path = NULL;
    auto_batch struct runner_batch *look = batch_new(&op->call), *read = batch_new(&op->call);
    struct runner_step alive = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = pid_path};
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .number = PROC_MAX};

    if (batch_run_step(&op->call, look, &alive, err) < 0)
        return -1;
    if (batch_result(look, 0)->status != 0)
        return 0;
    step.path = path = mem_printf("/proc/%lld/cgroup", (long long)batch_result(look, 0)->number);
    if (batch_run_step(&op->call, read, &step, err) < 0)
        return -1;
    if (batch_result(read, 0)->status == 0)
        *ret = cgroup_of(batch_result(read, 0), op->id);
    return 0;
}

/* Unless that is another's. */
static void guess_interface(struct op *op, struct runner_nic *ret)
{
    struct runner_nic nic = {.size = sizeof nic, .kind = RUNNER_NIC_TAP};
    struct runner_error ignored = ERROR_INIT;

    if (host_plugin(op->host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_USER_NIC)
        return;
    takeover_tap(op->id, nic.name);
    if (HOST_CALL(op->host, RUNNER_NETWORK, network, adopt, &op->call, op->id, &nic, &ignored) == 0)
        *ret = nic;
}

int op_know_unread(struct op *op, struct runner_error *err)
{
    struct runner_nic nic = {.size = 0};
    struct runner_error why = ERROR_INIT;
    char *cgroup = NULL;

    if (op_read_again(op, &why) == 0)
        return 0;
    log_event(RUNNER_LOG_WARN, "op.unread", "op", "destroy", "id", op->id, "error", why.message, NULL);
    if (find_cgroup(op, &cgroup, err) < 0)
        return -1;
    guess_interface(op, &nic);
    index_lock(op->engine->index);
    op->sandbox->record->nic = nic;
    free(op->sandbox->record->vmm.cgroup);
    op->sandbox->record->vmm.cgroup = cgroup;
    index_unlock(op->engine->index);
    return 0;
}
