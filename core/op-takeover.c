/*
 * A sandbox that an older runner left, its recovery: it becomes one of ours without noticing. Its process, when it
 * runs, is adopted; what it is, is found out and checked; then, at one stroke, there is a record. Whatever fails or is
 * killed before that leaves it as it was, and the next start tries again.
 */
#include <inttypes.h>
#include <string.h>

#include "core/log.h"
#include "core/mend.h"
#include "core/op.h"
#include "core/reaper.h"
#include "core/takeover.h"
#include "core/util/error.h"
#include "core/util/num.h"

/* ---- its process ------------------------------------------------------------------------------------------------- */

/* ABSENT: none of the host's VMMs runs it. */
static int adopt_process(struct op *op, struct runner_machine *ret_machine, struct runner_vm_status *ret_status,
                         const char **ret_vmm, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    int status = fail(err, RUNNER_E_NOTSUP, 0, "no VMM of this host takes over what others started");

    vm_view_init(&view, op->host, op->sandbox->record);
    for (struct instance *vmm = op->host->instances[RUNNER_VMM]; vmm != NULL && status < 0; vmm = vmm->next) {
        if (!(vmm->plugin->desc.caps & RUNNER_VMM_CAP_ADOPT))
            continue;
        status = INSTANCE_CALL(vmm, vmm, adopt, &op->call, &view.vm, ret_machine, ret_status, err);
        *ret_vmm = vmm->plugin->desc.name;
    }
    if (status == 0 && ret_status->state == RUNNER_VM_ABSENT)
        *ret_vmm = NULL;
    return status;
}

static void set_vmm(struct op *op, const char *name)
{
    index_lock(op->engine->index);
    free(op->sandbox->record->vmm.plugin);
    op->sandbox->record->vmm.plugin = mem_dup(name);
    index_unlock(op->engine->index);
}

int op_find_foreign_process(struct op *op, struct runner_error *err)
{
    struct runner_machine machine = {.size = sizeof machine};
    struct runner_vm_status status = {.size = sizeof status};
    const char *vmm = NULL;

    if (adopt_process(op, &machine, &status, &vmm, err) < 0)
        return -1;
    foreign_release(&machine);
    if (vmm != NULL)
        set_vmm(op, vmm);
    return 0;
}

/* ---- its network ------------------------------------------------------------------------------------------------- */

/* The start-up has leased its address, and reserved the TAP when that was known; unless its files were not
 * understood. */
static int plan_nic(struct op *op, const struct foreign *foreign, struct runner_nic *nic, struct runner_error *err)
{
    struct runner_nic before = op->sandbox->record->nic;

    if (before.size == 0 && takeover_lease(&op->call, op->id, foreign, &before, err) < 0)
        return -1;
    *nic = before;
    memcpy(nic->name, foreign->tap, sizeof nic->name);
    if (nic->name[0] == '\0')
        takeover_tap(op->id, nic->name);
    if (foreign->mac[0] != '\0')
        memcpy(nic->mac, foreign->mac, sizeof nic->mac);
    if (before.name[0] != '\0' && strcmp(before.name, nic->name) != 0 && op_release_network(op, err) < 0)
        return -1;
    return HOST_CALL(op->host, RUNNER_NETWORK, network, adopt, &op->call, op->id, nic, err);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int state_of(const struct runner_vm_status *status, enum sandbox_state *ret, struct runner_error *err)
{
    switch (status->state) {
    case RUNNER_VM_RUNNING:
        *ret = SANDBOX_STARTED;
        return 0;
    case RUNNER_VM_PAUSED:
        *ret = SANDBOX_PAUSED;
        return 0;
    case RUNNER_VM_ABSENT:
    case RUNNER_VM_ENDED:
        *ret = SANDBOX_STOPPED;
        return 0;
    default:
        return fail(err, RUNNER_E_IO, 0, "its VMM says that it is %s", status->text);
    }
}

static void report(const struct op *op)
{
    const struct record *record = op->sandbox->record;

    log_event(RUNNER_LOG_INFO, "reconcile.taken_over", "id", op->id, "state", sandbox_state_name(record->state), "vmm",
              record->vmm.plugin, "address", record->nic.address, "interface", record->nic.name, "snapshot",
              record->snapshot, NULL);
}

/* All that can be said against it is said before anything is written. */
static int plan_record(struct op *op, struct runner_machine *machine, const struct runner_vm_status *status,
                       struct foreign *foreign, struct record *plan, struct runner_error *err)
{
    if (foreign_take_machine(foreign, machine, err) < 0 || state_of(status, &plan->state, err) < 0 ||
        takeover_plan(&op->call, foreign, plan->state != SANDBOX_STOPPED, plan, err) < 0)
        return -1;
    return plan_nic(op, foreign, &plan->nic, err);
}

/* The process goes on without being known: what is not ours has nothing of ours in its directory. */
static void forget_process(struct op *op)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "vmm.pid");
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

    if (batch_add(batch, &step, NULL) == 0)
        (void)batch_run(&op->call, batch, NULL);
}

/* A process without a guest goes. */
static int end_empty(struct op *op, const struct runner_vm_status *status, const char *vmm, struct runner_error *err)
{
    if (status->state != RUNNER_VM_ENDED)
        return 0;
    set_vmm(op, vmm);
    return op_tear_down(op, err);
}

/* Nobody has written a record yet. Whatever a failed write has left, the process stays known. */
static int make_ours(struct op *op, struct record *plan, struct runner_error *err)
{
    enum sandbox_state state = plan->state;

    index_replace(op->engine->index, op->sandbox, plan);
    if (op_commit(op, state, NULL, err) < 0) {
        index_replace(op->engine->index, op->sandbox, plan);
        return -1;
    }
    index_lock(op->engine->index);
    op->sandbox->is_foreign = false;
    index_unlock(op->engine->index);
    report(op);
    if (state != SANDBOX_STOPPED) {
        reaper_watch(op->engine->reaper, op->sandbox);
        op_enforce_policy(op);
    }
    mend_known(op->engine, op->host, &op->call);
    return 0;
}

static int take_over(struct op *op, struct runner_error *err)
{
    struct runner_machine machine = {.size = sizeof machine};
    struct runner_vm_status status = {.size = sizeof status};
    auto_foreign struct foreign foreign = FOREIGN_INIT;
    auto_record struct record *plan = record_new(op->id);
    const char *vmm = NULL;
    int planned;

    if (takeover_read(&op->call, op->id, &foreign, err) < 0 || adopt_process(op, &machine, &status, &vmm, err) < 0)
        return -1;
    planned = plan_record(op, &machine, &status, &foreign, plan, err);
    foreign_release(&machine);
    if (planned < 0) {
        if (vmm != NULL)
            forget_process(op);
        return -1;
    }
    plan->vmm.plugin = mem_dup(vmm);
    plan->taken_over_ms = num_wall_ms();
    return end_empty(op, &status, vmm, err) < 0 ? -1 : make_ours(op, plan, err);
}

/* It stays what it is, and shows why. */
static int try_take_over(struct op *op, struct runner_error *err)
{
    struct record *record = op->sandbox->record;

    if (take_over(op, err) == 0)
        return OP_NEXT;
    index_lock(op->engine->index);
    sandbox_release(op->sandbox);
    record->state = SANDBOX_ERROR;
    free(record->error);
    record->error = mem_dup(err->message);
    index_unlock(op->engine->index);
    log_event(RUNNER_LOG_ERROR, "reconcile.not_taken_over", "id", op->id, "error", err->message, NULL);
    if (op->kind != OP_RECOVER)
        return -1;
    error_clear(err);
    return OP_ENOUGH;
}

static const struct op_phase takeover_phases[] = {{"take_over", try_take_over, NULL}};
const struct op_type op_takeover = {"take_over", takeover_phases, ARRAY_LEN(takeover_phases)};
