/* What changes a sandbox that does not run: recover, and resize. */
#include <string.h>

#include "core/op.h"
#include "core/reaper.h"
#include "core/util/error.h"

/* ---- recover: one in error is stopped again, with its disk as it is ---- */

static int repair_admit(struct op *op, struct runner_error *err)
{
    const struct record *record;

    if (op_find(op, err) < 0)
        return -1;
    if (op->sandbox->is_foreign) { /* what was wrong with its files may have been put right */
        op->type = &op_takeover;
        return OP_BECOME;
    }
    record = op->sandbox->record;
    if (record->state == SANDBOX_STOPPED)
        return OP_ENOUGH;
    if (record->state != SANDBOX_ERROR)
        return fail(err, RUNNER_E_BUSY, 0, "cannot recover sandbox '%s': it is %s", op->id,
                    sandbox_state_name(record->state));
    if (record->disk.path == NULL)
        return fail(err, RUNNER_E_IO, 0, "cannot recover sandbox '%s': it has no disk (%s)", op->id,
                    record->error != NULL ? record->error : "unknown");
    return OP_NEXT;
}

static int repair_clean(struct op *op, struct runner_error *err)
{
    reaper_forget(op->engine->reaper, op->sandbox);
    return op_tear_down(op, err) < 0 ? -1 : OP_NEXT;
}

static int repaired(struct op *op, struct runner_error *err)
{
    return op_commit(op, SANDBOX_STOPPED, NULL, err);
}

static const struct op_phase repair_phases[] = {
    {"admit", repair_admit, NULL}, {"host", repair_clean, NULL}, {"commit", repaired, NULL}};
const struct op_type op_repair = {"repair", repair_phases, ARRAY_LEN(repair_phases)};

/* ---- resize: new totals, of which 0 leaves what is there ---- */

static int resize_admit(struct op *op, struct runner_error *err)
{
    const struct resize *to = &op->resize;
    const struct record *record;
    bool is_same;

    if (op_find(op, err) < 0)
        return -1;
    record = op->sandbox->record;
    is_same = (to->cpus == 0 || to->cpus == record->cpus) &&
              (to->memory_bytes == 0 || to->memory_bytes == record->memory_bytes);
    if (to->disk_bytes != 0 && to->disk_bytes < record->disk_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "disk: %lld GiB are less than the %lld GiB it has; disks only grow",
                    (long long)(to->disk_bytes >> 30), (long long)(record->disk_bytes >> 30));
    if (to->disk_bytes > record->disk_bytes)
        return fail(err, RUNNER_E_NOTSUP, 0, "disk: growing the disk of a sandbox is not supported yet");
    if (is_same)
        return OP_ENOUGH;
    if (record->state != SANDBOX_STOPPED)
        return fail(
            err, RUNNER_E_NOTSUP, 0,
            "cannot resize sandbox '%s' while it is %s: changing a running machine is not supported yet, stop it first",
            op->id, sandbox_state_name(record->state));
    return OP_NEXT;
}

static struct resize set_size(struct op *op, const struct resize *to)
{
    struct record *record = op->sandbox->record;
    struct resize was = {.cpus = record->cpus, .memory_bytes = record->memory_bytes};

    index_lock(op->engine->index);
    record->cpus = to->cpus != 0 ? to->cpus : record->cpus;
    record->memory_bytes = to->memory_bytes != 0 ? to->memory_bytes : record->memory_bytes;
    index_unlock(op->engine->index);
    return was;
}

/* A stopped sandbox has neither vCPUs nor memory of its host: its next start asks for room. */
static int resized(struct op *op, struct runner_error *err)
{
    struct resize was = set_size(op, &op->resize);

    if (op_commit(op, SANDBOX_STOPPED, NULL, err) == OP_NEXT)
        return OP_NEXT;
    (void)set_size(op, &was);
    return -1;
}

static const struct op_phase resize_phases[] = {{"admit", resize_admit, NULL}, {"commit", resized, NULL}};
const struct op_type op_resize = {"resize", resize_phases, ARRAY_LEN(resize_phases)};
