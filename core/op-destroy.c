/* destroy: nothing of the sandbox is left. A missing one is success. */
#include "core/log.h"
#include "core/mend.h"
#include "core/op.h"
#include "core/reaper.h"
#include "core/util/error.h"

static int find(struct op *op, struct runner_error *err)
{
    if (op_find(op, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? OP_ENOUGH : -1;
    if (op->sandbox->is_foreign && op_find_foreign_process(op, err) < 0)
        return error_wrap(err, "its process could not be found, and so cannot be ended");
    if (op->sandbox->is_unread && op_know_unread(op, err) < 0)
        return -1;
    return OP_NEXT;
}

/* Durable before anything is taken away: whatever happens now, start-up finishes it. Where there is no room for that, the
 * removal is what makes room: killed on the way, the next start finds the sandbox stopped, and its client had no answer.
 * Where its directory is gone, there is nothing to mark. What a create could not undo it says until it is gone. */
static int mark(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;
    const char *error = record->state == SANDBOX_DESTROYING ? record->error : NULL;

    if (op_commit(op, SANDBOX_DESTROYING, error, err) < 0) {
        if (err->code != RUNNER_E_NOSPACE && err->code != RUNNER_E_NOTFOUND)
            return -1;
        log_event(RUNNER_LOG_WARN, "op.not_marked", "op", "destroy", "id", op->id, "error", err->message, NULL);
        error_clear(err);
    }
    reaper_forget(op->engine->reaper, op->sandbox);
    return OP_NEXT;
}

static int tear_down(struct op *op, struct runner_error *err)
{
    return op_tear_down(op, err) < 0 ? -1 : OP_NEXT;
}

static int remove_directory(struct op *op, struct runner_error *err)
{
    return op_remove_directory(op, err) < 0 ? -1 : OP_NEXT;
}

static int forget(struct op *op, struct runner_error *err)
{
    bool was_known = !op->sandbox->is_unread && !op->sandbox->is_foreign;

    (void)op_release_network(op, NULL);
    index_remove(op->engine->index, op->sandbox);
    op_unassign(op);
    if (!was_known)
        mend_known(op->engine, op->host, &op->call);
    if (host_plugin(op->host, RUNNER_IPAM) == NULL)
        return OP_NEXT;
    return HOST_CALL(op->host, RUNNER_IPAM, ipam, release, op->id, err) < 0 ? -1 : OP_NEXT;
}

static const struct op_phase phases[] = {{"find", find, NULL},
                                         {"mark", mark, NULL},
                                         {"host", tear_down, NULL},
                                         {"directory", remove_directory, NULL},
                                         {"forget", forget, NULL}};
const struct op_type op_destroy = {"destroy", phases, ARRAY_LEN(phases)};
