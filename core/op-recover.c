/* What nobody asked for: a VMM that ended, and the state in which a start-up finds a sandbox. */
#include <string.h>
#include <sys/wait.h>

#include "core/log.h"
#include "core/op.h"
#include "core/reaper.h"
#include "core/util/error.h"

/* Whether the guest powered itself off. A status of 0 is not enough where the VMM says more, and none is known of a
 * process that an earlier runner started. */
static bool is_orderly(const struct op *op, int status)
{
    return op->is_heard ? op->has_said_end && (status == 0 || status == -1) : status == 0 || status == -1;
}

/* The guest powered itself off: stopped. Anything else: error, with what is known. */
static int settle(struct op *op, int status, struct runner_error *err)
{
    struct runner_error why = ERROR_INIT;

    if (is_orderly(op, status)) {
        log_event(RUNNER_LOG_INFO, "vm.ended", "id", op->id, "how", status == 0 ? "guest powered off" : "unknown",
                  NULL);
        return op_commit(op, SANDBOX_STOPPED, NULL, err);
    }
    if (status == 0 || status == -1)
        (void)fail(&why, RUNNER_E_IO, 0, "the VMM ended without a word (crashed or killed)");
    else if (WIFSIGNALED(status))
        (void)fail(&why, RUNNER_E_IO, 0, "the VMM was killed by signal %d", WTERMSIG(status));
    else
        (void)fail(&why, RUNNER_E_IO, 0, "the VMM ended with status %d (guest panic or internal error)",
                   WEXITSTATUS(status));
    op_quote_serial(op, &why);
    log_event(RUNNER_LOG_ERROR, "vm.failed", "id", op->id, "error", why.message, NULL);
    return op_commit(op, SANDBOX_ERROR, why.message, err);
}

static int ended(struct op *op, int status, struct runner_error *err)
{
    if (op_tear_down(op, err) < 0)
        return -1;
    return settle(op, status, err);
}

static int exited(struct op *op, struct runner_error *err)
{
    enum sandbox_state state;
    bool is_alive;
    int status;

    if (op_find(op, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? OP_ENOUGH : -1;
    state = op->sandbox->record->state;
    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return OP_ENOUGH;
    if (op_probe(op, &is_alive, &status, err) < 0)
        return -1;
    return is_alive ? OP_ENOUGH : ended(op, status, err);
}

static const struct op_phase exited_phases[] = {{"exited", exited, NULL}};
const struct op_type op_exited = {"exited", exited_phases, ARRAY_LEN(exited_phases)};

/* The guest's kernel gave up; its VMM goes on, for nothing. */
static int panicked(struct op *op, struct runner_error *err)
{
    struct runner_error why = ERROR_INIT;
    enum sandbox_state state;

    if (op_find(op, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? OP_ENOUGH : -1;
    state = op->sandbox->record->state;
    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return OP_ENOUGH;
    (void)fail(&why, RUNNER_E_IO, 0, "the guest's kernel panicked");
    op_quote_serial(op, &why);
    log_event(RUNNER_LOG_ERROR, "vm.panicked", "id", op->id, "error", why.message, NULL);
    reaper_forget(op->engine->reaper, op->sandbox);
    if (op_tear_down(op, err) < 0)
        return -1;
    return op_commit(op, SANDBOX_ERROR, why.message, err);
}

static const struct op_phase panicked_phases[] = {{"panicked", panicked, NULL}};
const struct op_type op_panicked = {"panicked", panicked_phases, ARRAY_LEN(panicked_phases)};

/* ---- start-up ---- */

static int ask_status(struct op *op, struct runner_vm_status *ret, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);

    return vmm != NULL ? INSTANCE_CALL(vmm, vmm, status, &op->call, &view.vm, ret, err) : -1;
}

/* The process lives. A VMM that does not answer is not a dead one: it is kept as its record says. */
static int adopt(struct op *op, struct runner_error *err)
{
    struct runner_vm_status vm = {.size = sizeof vm};
    enum sandbox_state state = op->sandbox->record->state;

    if (ask_status(op, &vm, err) < 0)
        log_event(RUNNER_LOG_WARN, "recover.no_answer", "id", op->id, "error", err->message, NULL);
    else
        op_set_state_due(op, false);
    if (vm.state == RUNNER_VM_FAILED || vm.state == RUNNER_VM_ENDED)
        return ended(op, vm.state == RUNNER_VM_ENDED ? 0 : 1 << 8, err);
    if (vm.state == RUNNER_VM_PAUSED)
        state = SANDBOX_PAUSED;
    else if (vm.state == RUNNER_VM_RUNNING)
        state = SANDBOX_STARTED;
    if (state != op->sandbox->record->state && op_commit(op, state, NULL, err) < 0)
        return -1;
    reaper_watch(op->engine->reaper, op->sandbox);
    op_enforce_policy(op);
    return OP_NEXT;
}

static int recover(struct op *op, struct runner_error *err)
{
    bool is_alive;
    int status;

    if (op_find(op, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? OP_ENOUGH : -1;
    if (op->sandbox->is_foreign) {
        op->type = &op_takeover;
        return OP_BECOME;
    }
    if (op->sandbox->is_unread && op_read_again(op, err) < 0)
        return -1;
    switch (op->sandbox->record->state) {
    case SANDBOX_CREATING: /* never acknowledged */
    case SANDBOX_DESTROYING:
        op->type = &op_destroy;
        return OP_BECOME;
    case SANDBOX_STARTING: /* never acknowledged */
    case SANDBOX_STOPPING:
        return op_tear_down(op, err) < 0 ? -1 : op_commit(op, SANDBOX_STOPPED, NULL, err);
    case SANDBOX_STARTED:
    case SANDBOX_PAUSED:
        if (op_probe(op, &is_alive, &status, err) < 0)
            return -1;
        return is_alive ? adopt(op, err) : ended(op, status, err);
    default:
        return OP_ENOUGH;
    }
}

static const struct op_phase recover_phases[] = {{"recover", recover, NULL}};
const struct op_type op_recover = {"recover", recover_phases, ARRAY_LEN(recover_phases)};
