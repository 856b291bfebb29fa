/* recover: one in error is stopped again; one whose disk is full is stopped, and has a larger one from then on. */
#include "core/op.h"
#include "core/reaper.h"
#include "core/recover-request.h"
#include "core/util/error.h"

static int refuse_state(const struct op *op, struct runner_error *err)
{
    return fail(err, RUNNER_E_BUSY, 0, "cannot recover sandbox '%s': it is %s", op->id,
                sandbox_state_name(op->sandbox->record->state));
}

/* ---- with its disk as it is ---- */

static int repair_admit(struct op *op, struct runner_error *err)
{
    const struct record *record;

    if (op_find(op, err) < 0)
        return -1;
    if (op->sandbox->is_foreign) { /* what was wrong with its files may have been put right */
        op->type = &op_takeover;
        return OP_BECOME;
    }
    if (op->sandbox->is_unread) {
        if (op_read_again(op, err) < 0)
            return -1;
        op->type = &op_recover;
        return OP_BECOME;
    }
    if (op->is_full) {
        op->type = &op_expand;
        return OP_BECOME;
    }
    record = op->sandbox->record;
    if (record->state == SANDBOX_STOPPED)
        return OP_ENOUGH;
    if (record->state != SANDBOX_ERROR)
        return refuse_state(op, err);
    if (record->disk.path == NULL)
        return fail(err, RUNNER_E_IO, 0, "cannot recover sandbox '%s': it has no disk (%s)", op->id,
                    record->error != NULL ? record->error : "unknown");
    return OP_NEXT;
}

static int clean(struct op *op, struct runner_error *err)
{
    reaper_forget(op->engine->reaper, op->sandbox);
    if (op_tear_down(op, err) < 0)
        return -1;
    op->is_torn_down = true;
    return OP_NEXT;
}

static int repaired(struct op *op, struct runner_error *err)
{
    return op_commit(op, SANDBOX_STOPPED, NULL, err);
}

static const struct op_phase repair_phases[] = {
    {"admit", repair_admit, NULL}, {"host", clean, NULL}, {"commit", repaired, NULL}};
const struct op_type op_repair = {"repair", repair_phases, ARRAY_LEN(repair_phases)};

/* ---- with a larger disk: what it may have is known before anything is ended ---- */

static int expand_admit(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;
    int64_t extra_bytes;

    switch (record->state) {
    case SANDBOX_STARTED:
    case SANDBOX_PAUSED:
    case SANDBOX_STOPPED:
    case SANDBOX_ERROR:
        break;
    default:
        return refuse_state(op, err);
    }
    if (record->disk.path == NULL)
        return fail(err, RUNNER_E_IO, 0, "cannot recover sandbox '%s': it has no disk", op->id);
    extra_bytes = recover_extra(record->disk_bytes, record->disk_extra_bytes);
    if (extra_bytes < 0)
        return fail(err, RUNNER_E_NOSPACE, 0,
                    "cannot recover sandbox '%s': its " RECOVER_EXHAUSTED ", it has %lld MiB more than its %lld GiB", op->id,
                    (long long)(record->disk_extra_bytes >> 20), (long long)(record->disk_bytes >> 30));
    op->resize = (struct resize){.disk_extra_bytes = extra_bytes};
    return op_can_grow(op, err) < 0 ? -1 : OP_NEXT;
}

static bool runs(enum sandbox_state state)
{
    return state == SANDBOX_STARTED || state == SANDBOX_PAUSED;
}

static int expand_mark(struct op *op, struct runner_error *err)
{
    const enum sandbox_state state = op->sandbox->record->state;

    if (!runs(state))
        return OP_NEXT;
    op->force = state == SANDBOX_PAUSED; /* which does not hear the button */
    return op_mark(op, SANDBOX_STOPPING, err);
}

/* Its machine is gone, whatever went wrong with its disk. Else it is "stopping" until it is (follow_up in op.c). */
static void expand_unmark(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (op->is_torn_down && op->sandbox->record->state == SANDBOX_STOPPING &&
        op_commit(op, SANDBOX_STOPPED, NULL, &more) < 0)
        error_append(err, "%s", more.message);
}

static int expand_power(struct op *op, struct runner_error *err)
{
    const int64_t grace_ms = op->force ? 0 : op->engine->config->timeouts.stop_grace_ms;

    if (op->sandbox->record->state != SANDBOX_STOPPING)
        return OP_NEXT;
    reaper_forget(op->engine->reaper, op->sandbox);
    return op_end_vm(op, grace_ms, err) < 0 ? -1 : OP_NEXT;
}

static const struct op_phase expand_phases[] = {
    {"admit", expand_admit, NULL}, {"mark", expand_mark, expand_unmark},    {"power", expand_power, NULL},
    {"host", clean, NULL},         {"room", op_take_room, op_give_room_back}, {"disk", op_grow_disk, NULL},
    {"commit", repaired, NULL}};
const struct op_type op_expand = {"expand", expand_phases, ARRAY_LEN(expand_phases)};
