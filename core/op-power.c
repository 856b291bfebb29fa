/* start, stop, pause, resume. */
#include <string.h>

#include "core/op.h"
#include "core/reaper.h"
#include "core/util/error.h"

static int refuse_state(const struct op *op, const char *what, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;

    return fail(err, RUNNER_E_BUSY, 0, "cannot %s sandbox '%s': it is %s%s%s", what, op->id,
                sandbox_state_name(record->state), record->error != NULL ? ": " : "",
                record->error != NULL ? record->error : "");
}

/* ---- start ---- */

/* The record gets what the request brought, the operation what it had; and back. */
static void swap_metadata(struct op *op)
{
    struct record *record = op->sandbox->record;
    struct json *had = record->metadata;

    index_lock(op->engine->index);
    record->metadata = op->metadata;
    index_unlock(op->engine->index);
    op->metadata = had;
}

/* What it may reach changes by what the start says of that. */
static int plan_policy(struct op *op, struct runner_error *err)
{
    struct policy_change change;

    policy_copy(&op->sandbox->record->policy, &op->policy);
    if (policy_change_read_metadata(op->metadata, &change, err) < 0)
        return -1;
    policy_change_apply(&change, &op->policy);
    policy_change_done(&change);
    return 0;
}

static void swap(struct op *op)
{
    swap_metadata(op);
    op_swap_policy(op);
}

/* By op_mark(), since its job is done when the network has it, too. */
static int exchange(struct op *op, struct runner_error *err)
{
    int status;

    swap(op);
    status = op_mark(op, SANDBOX_STARTED, err);
    if (status < 0)
        swap(op);
    return status;
}

static int take_news(struct op *op, struct runner_error *err)
{
    const bool was_due = op->sandbox->is_policy_due;
    struct runner_error more = ERROR_INIT;

    if (exchange(op, err) < 0)
        return -1;
    if (op_apply_policy(op, err) == 0)
        return OP_ENOUGH;
    if (op->is_policy_refused && exchange(op, &more) == 0) /* what was before is still in force */
        op_set_policy_due(op, was_due);
    return -1;
}

/* It runs. What the request brought holds all the same: it may be the first word of it, or the same again after the runner
 * was killed before it could tell the daemon. */
static int start_enough(struct op *op, struct runner_error *err)
{
    if (op->metadata != NULL && plan_policy(op, err) < 0)
        return -1;
    op_tell_token(op, op->sandbox);
    if (op->metadata == NULL)
        return OP_ENOUGH;
    return take_news(op, err);
}

/* It runs: its daemon is waited for. Or it ended, which was not noted yet, or could not be, or comes while it is waited
 * for: what is left of it goes. */
static int start_again(struct op *op, struct runner_error *err)
{
    struct runner_error ignored = ERROR_INIT;
    bool is_alive;
    int status;

    if (op_probe(op, &is_alive, &status, err) < 0)
        return -1;
    if (is_alive && op_ready(op, err) == OP_NEXT)
        return start_enough(op, err);
    if (is_alive && (op_probe(op, &is_alive, &status, &ignored) < 0 || is_alive))
        return -1;
    error_clear(err);
    return op_tear_down(op, err) < 0 ? -1 : OP_NEXT;
}

/* A machine that was taken over may have run with what this runner cannot give it. */
static bool has_boot(const struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;

    if (record->boot.kernel != NULL || record->boot.firmware != NULL)
        return true;
    fail(err, RUNNER_E_NOTSUP, 0,
         "cannot start sandbox '%s': it was taken over from another runner, and of what its "
         "config.json says nothing can be booted here",
         op->id);
    return false;
}

static int start_admit(struct op *op, struct runner_error *err)
{
    if (op_find(op, err) < 0)
        return -1;
    switch (op->sandbox->record->state) {
    case SANDBOX_STARTED:
        return start_again(op, err);
    case SANDBOX_PAUSED:
        op->type = &op_resume;
        return OP_BECOME;
    case SANDBOX_STOPPED:
    case SANDBOX_ERROR: /* its VM is gone; its disk is there */
        if (op->sandbox->record->disk.path == NULL)
            return refuse_state(op, "start", err);
        return has_boot(op, err) ? OP_NEXT : -1;
    default:
        return refuse_state(op, "start", err);
    }
}

/* Recorded before the first host step: found at start-up, the VM is ended and the sandbox is stopped again. */
static int start_mark(struct op *op, struct runner_error *err)
{
    bool has_news = op->metadata != NULL;

    if ((has_news && plan_policy(op, err) < 0) || op_assign(op, err) < 0 ||
        index_allocate(op->engine->index, op->sandbox, err) < 0)
        return -1;
    if (has_news)
        swap(op);
    if (op_commit(op, SANDBOX_STARTING, NULL, err) < 0) { /* which goes back to stopped, with nothing allocated */
        if (has_news)
            swap(op);
        return -1;
    }
    batch_free(op->batch);
    op->batch = batch_new(&op->call);
    return OP_NEXT;
}

static void start_unmark(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (!op->is_stuck && op_commit(op, SANDBOX_STOPPED, NULL, &more) < 0)
        error_append(err, "%s", more.message);
}

/* What could not be undone now is later: it stays "starting" until then. */
static void start_undo(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    op->is_torn_down = true;
    if (op_tear_down(op, &more) == 0)
        return;
    op->is_stuck = true;
    error_append(err, "not undone: %s", more.message);
}

/* A batch that fails undoes what it did, and may fail at that as well. */
static void start_undo_batch(struct op *op, struct runner_error *err)
{
    if (!op->is_torn_down)
        start_undo(op, err);
}

static int start_begin(struct op *op, struct runner_error *err)
{
    int status = op_split(op, err);

    if (status == OP_NEXT)
        status = op_begin(op, err);
    if (status < 0)
        start_undo(op, err);
    return status;
}

static void start_unbegin(struct op *op, struct runner_error *err)
{
    if (op_unbegin(op, err) < 0)
        start_undo(op, err);
}

static int started(struct op *op, struct runner_error *err)
{
    if (op_commit(op, SANDBOX_STARTED, NULL, err) < 0)
        return -1;
    op_set_state_due(op, false);
    reaper_watch(op->engine->reaper, op->sandbox);
    op_tell_token(op, op->sandbox);
    return OP_NEXT;
}

static const struct op_phase start_phases[] = {{"admit", start_admit, NULL},
                                               {"mark", start_mark, start_unmark},
                                               {"begin", start_begin, start_unbegin},
                                               {"network", op_plan_network, op_unplan_network},
                                               {"seed", op_plan_seed, NULL},
                                               {"owner", op_plan_owner, NULL},
                                               {"spawn", op_plan_spawn, start_undo_batch},
                                               {"host", op_run_batch, start_undo},
                                               {"boot", op_boot, NULL},
                                               {"ready", op_ready, NULL},
                                               {"commit", started, NULL}};
const struct op_type op_start = {"start", start_phases, ARRAY_LEN(start_phases)};

/* ---- stop ---- */

static int stop_admit(struct op *op, struct runner_error *err)
{
    if (op_find(op, err) < 0)
        return -1;
    switch (op->sandbox->record->state) {
    case SANDBOX_STOPPED:
        return OP_ENOUGH;
    case SANDBOX_CREATING:
    case SANDBOX_DESTROYING:
        return refuse_state(op, "stop", err);
    default:
        return OP_NEXT;
    }
}

/* From here on it is to be stopped, whatever happens: a start-up that finds this finishes it. */
static int stop_mark(struct op *op, struct runner_error *err)
{
    if (op->sandbox->record->state != SANDBOX_STARTED)
        op->force = true; /* what is paused or broken does not hear the button */
    if (op_commit(op, SANDBOX_STOPPING, NULL, err) < 0)
        return -1;
    reaper_forget(op->engine->reaper, op->sandbox);
    return OP_NEXT;
}

static int stop_power(struct op *op, struct runner_error *err)
{
    int64_t grace_ms = op->force ? 0 : op->engine->config->timeouts.stop_grace_ms;

    return op_end_vm(op, grace_ms, err) < 0 ? -1 : OP_NEXT;
}

static int stop_clean(struct op *op, struct runner_error *err)
{
    return op_tear_down(op, err) < 0 ? -1 : OP_NEXT;
}

static int stopped(struct op *op, struct runner_error *err)
{
    return op_commit(op, SANDBOX_STOPPED, NULL, err);
}

static const struct op_phase stop_phases[] = {{"admit", stop_admit, NULL},
                                              {"mark", stop_mark, NULL},
                                              {"power", stop_power, NULL},
                                              {"host", stop_clean, NULL},
                                              {"commit", stopped, NULL}};
const struct op_type op_stop = {"stop", stop_phases, ARRAY_LEN(stop_phases)};

/* ---- pause, resume: a VMM that gave no answer may do it all the same, so what failed is taken back ---- */

static int can_pause(struct op *op, struct runner_error *err)
{
    const struct instance *vmm = op_vmm(op, err);

    if (vmm == NULL)
        return -1;
    if (!(vmm->plugin->desc.caps & RUNNER_VMM_CAP_PAUSE))
        return fail(err, RUNNER_E_NOTSUP, 0, "vmm '%s' does not pause", vmm->plugin->desc.name);
    return OP_NEXT;
}

static int call_vmm(struct op *op, struct runner_call *call, bool pauses, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);
    int status;

    if (vmm == NULL)
        return -1;
    status = pauses ? INSTANCE_CALL(vmm, vmm, pause, call, &view.vm, err)
                    : INSTANCE_CALL(vmm, vmm, resume, call, &view.vm, err);
    return status < 0 ? op_blame_host(err) : 0;
}

/* Goes on where it is not known whether it is done already. */
static int pause_admit(struct op *op, struct runner_error *err)
{
    enum sandbox_state state;

    if (op_find(op, err) < 0)
        return -1;
    state = op->sandbox->record->state;
    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return refuse_state(op, "pause", err);
    return state == SANDBOX_PAUSED && !op->sandbox->is_state_due ? OP_ENOUGH : can_pause(op, err);
}

static int pause_vm(struct op *op, struct runner_error *err)
{
    return call_vmm(op, &op->call, true, err);
}

/* To what its record says. Where that fails as well, its VMM is asked later (follow_up in op.c), so that the client, and a
 * runner that stops, need not wait for one that answers nothing. */
static void bring_back(struct op *op, struct runner_error *err)
{
    bool was_paused = op->sandbox->record->state == SANDBOX_PAUSED, is_unknown;
    struct runner_error more = ERROR_INIT;
    struct runner_call soon;

    call_init_child(&soon, &op->call, OP_BACK_MS);
    is_unknown = call_vmm(op, &soon, was_paused, &more) < 0;
    if (is_unknown)
        error_append(err, "may be left %s: %s", was_paused ? "running" : "paused", more.message);
    op_set_state_due(op, is_unknown);
}

static int paused(struct op *op, struct runner_error *err)
{
    if (op_commit(op, SANDBOX_PAUSED, NULL, err) < 0)
        return -1;
    op_set_state_due(op, false);
    return OP_NEXT;
}

static const struct op_phase pause_phases[] = {
    {"admit", pause_admit, bring_back}, {"pause", pause_vm, NULL}, {"commit", paused, NULL}};
const struct op_type op_pause = {"pause", pause_phases, ARRAY_LEN(pause_phases)};

static int resume_admit(struct op *op, struct runner_error *err)
{
    enum sandbox_state state;

    if (op_find(op, err) < 0)
        return -1;
    state = op->sandbox->record->state;
    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return refuse_state(op, "resume", err);
    return state == SANDBOX_STARTED && !op->sandbox->is_state_due ? OP_ENOUGH : can_pause(op, err);
}

static int resume_vm(struct op *op, struct runner_error *err)
{
    return call_vmm(op, &op->call, false, err);
}

static const struct op_phase resume_phases[] = {{"admit", resume_admit, bring_back},
                                                {"resume", resume_vm, NULL},
                                                {"ready", op_ready, NULL},
                                                {"commit", started, NULL}};
const struct op_type op_resume = {"resume", resume_phases, ARRAY_LEN(resume_phases)};
