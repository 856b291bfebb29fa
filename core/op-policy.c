/* policy: what a sandbox may reach is changed; and how each attached one comes to what its record says. */
#include <string.h>

#include "core/log.h"
#include "core/op.h"
#include "core/util/error.h"

/* ---- putting it in force ---- */

static uint64_t network_caps(const struct op *op)
{
    return host_plugin(op->host, RUNNER_NETWORK)->desc.caps;
}

int op_check_policy(const struct op *op, const struct policy *policy, struct runner_error *err)
{
    uint64_t lacks = policy_needs(policy) & ~network_caps(op);
    const char *name = host_plugin(op->host, RUNNER_NETWORK)->desc.name;

    if (lacks & RUNNER_NETWORK_CAP_POLICY)
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "network settings: network '%s' cannot limit what a sandbox reaches (networkBlockAll, "
                    "networkAllowList, domainAllowList)",
                    name);
    if (lacks & RUNNER_NETWORK_CAP_DOMAINS)
        return fail(err, RUNNER_E_NOTSUP, 0, "network settings: network '%s' knows no domains (domainAllowList)", name);
    return 0;
}

int op_plan_policy(struct op *op, struct runner_batch *batch, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;
    struct policy_view view;
    int status;

    if (!(network_caps(op) & RUNNER_NETWORK_CAP_POLICY)) {
        if (record->policy.is_restricted || policy_needs(&record->policy) != 0)
            log_event(RUNNER_LOG_WARN, "policy.no_effect", "id", op->id, "network",
                      host_plugin(op->host, RUNNER_NETWORK)->desc.name, "note",
                      "this network cannot limit what a sandbox reaches", NULL);
        return 0;
    }
    policy_view_init(&view, &record->policy, network_caps(op));
    status = HOST_CALL(op->host, RUNNER_NETWORK, network, apply_policy, &op->call, batch, op->id, &record->nic,
                       &view.policy, err);
    policy_view_done(&view);
    return status < 0 ? error_wrap(err, "network policy") : 0;
}

void op_set_policy_due(struct op *op, bool is_due)
{
    index_lock(op->engine->index);
    op->sandbox->is_policy_due = is_due;
    index_unlock(op->engine->index);
}

/* ret_refused: nothing was done, and never will be. */
static int enforce(struct op *op, bool *ret_refused, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    int status = op_plan_policy(op, batch, err);

    *ret_refused = status < 0 && (err->code == RUNNER_E_NOTSUP || err->code == RUNNER_E_INVALID);
    if (status == 0)
        status = batch_run(&op->call, batch, err);
    op_set_policy_due(op, status < 0);
    return status;
}

/* One that failed is not taken back: who tightened it, and is not heard of again, means it still. */
int op_apply_policy(struct op *op, struct runner_error *err)
{
    if (enforce(op, &op->is_policy_refused, err) == 0)
        return 0;
    if (op->is_policy_refused)
        return -1;
    error_wrap(err, "the network settings are kept, but not in force yet (this is tried again)");
    return op_blame_host(err);
}

void op_enforce_policy(struct op *op)
{
    struct runner_error err = ERROR_INIT;
    bool is_refused;

    if (enforce(op, &is_refused, &err) < 0)
        log_event(RUNNER_LOG_ERROR, "policy.not_applied", "id", op->id, "error", err.message, NULL);
}

void op_swap_policy(struct op *op)
{
    struct record *record = op->sandbox->record;
    struct policy had = record->policy;

    index_lock(op->engine->index);
    record->policy = op->policy;
    index_unlock(op->engine->index);
    op->policy = had;
}

/* ---- the operation ---- */

static int admit(struct op *op, struct runner_error *err)
{
    const struct record *record;

    if (op_find(op, err) < 0)
        return -1;
    record = op->sandbox->record;
    if (record->state == SANDBOX_CREATING || record->state == SANDBOX_DESTROYING)
        return fail(err, RUNNER_E_BUSY, 0, "cannot change the network settings of sandbox '%s': it is %s", op->id,
                    sandbox_state_name(record->state));
    op->was_policy_due = op->sandbox->is_policy_due;
    policy_copy(&record->policy, &op->policy);
    policy_change_apply(&op->change, &op->policy);
    if (op->change.has_restricted && op->policy.is_restricted && !(network_caps(op) & RUNNER_NETWORK_CAP_POLICY))
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "network settings: network '%s' cannot limit what a sandbox reaches (networkLimitEgress)",
                    host_plugin(op->host, RUNNER_NETWORK)->desc.name);
    return op_check_policy(op, &op->policy, err) < 0 ? -1 : OP_NEXT;
}

/* Its job is not done by that: what is delivered again is done again. */
static int commit(struct op *op, struct runner_error *err)
{
    struct record *record = op->sandbox->record;
    const char *job = op->job;
    int status;

    op_swap_policy(op);
    op->job = NULL;
    status = op_commit(op, record->state, record->error, err);
    op->job = job;
    if (status < 0)
        op_swap_policy(op);
    return status;
}

/* First what holds from now on, then its coming: killed between, the next start of the runner goes on; and a sandbox that
 * does not run has it at its next start. */
static int keep(struct op *op, struct runner_error *err)
{
    return commit(op, err);
}

/* What was before is still in force. */
static void unkeep(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (!op->is_policy_refused)
        return;
    if (commit(op, &more) == 0)
        op_set_policy_due(op, op->was_policy_due);
    else
        error_append(err, "kept all the same: %s", more.message);
}

static int apply(struct op *op, struct runner_error *err)
{
    enum sandbox_state state = op->sandbox->record->state;

    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return OP_NEXT;
    return op_apply_policy(op, err) < 0 ? -1 : OP_NEXT;
}

static const struct op_phase policy_phases[] = {
    {"admit", admit, NULL}, {"record", keep, unkeep}, {"apply", apply, NULL}};
const struct op_type op_policy = {"policy", policy_phases, ARRAY_LEN(policy_phases)};
