#include "core/mend.h"

#include "core/host.h"
#include "core/log.h"
#include "core/op.h"
#include "core/util/error.h"

/* Copies: sweep runs plugin code, which must not be under the index's lock. */
static bool collect_nic(const struct sandbox *sandbox, void *element, void *host)
{
    if (sandbox->host != host || sandbox->record->nic.size == 0)
        return false;
    *(struct runner_nic *)element = sandbox->record->nic;
    return true;
}

void mend_sweep(struct engine *engine, struct host *host, struct runner_call *call, bool has_unreadable,
                bool has_foreign)
{
    auto_free struct runner_nic *nics = NULL;
    auto_free const struct runner_nic **owned = NULL;
    size_t n;
    struct runner_error err = ERROR_INIT;

    if (has_unreadable || has_foreign) { /* whose interface it is, is known when they are taken over */
        log_event(RUNNER_LOG_WARN, "reconcile.no_sweep", "host", host->config->name, "note",
                  has_unreadable ? "some records are unreadable: network interfaces are left alone"
                                 : "there are sandboxes of another runner: network interfaces are left alone",
                  NULL);
        return;
    }
    nics = index_map(engine->index, sizeof *nics, collect_nic, host, &n);
    owned = mem_array(n, sizeof *owned);
    for (size_t i = 0; i < n; i++)
        owned[i] = &nics[i];
    if (HOST_CALL(host, RUNNER_NETWORK, network, sweep, call, owned, n, &err) < 0)
        log_event(RUNNER_LOG_WARN, "reconcile.sweep_failed", "host", host->config->name, "error", err.message, NULL);
}

struct look {
    struct engine *engine;
    const struct host *host;
    bool has_unreadable, has_foreign;
};

static void look_at(const struct sandbox *sandbox, void *ctx)
{
    struct look *look = ctx;

    if (sandbox->host != look->host)
        return;
    look->has_unreadable |= sandbox->is_unread;
    look->has_foreign |= sandbox->is_foreign;
}

void mend_known(struct engine *engine, struct host *host, struct runner_call *call)
{
    struct look look = {.engine = engine, .host = host};

    index_each(engine->index, look_at, &look);
    if (!look.has_unreadable && !look.has_foreign)
        mend_sweep(engine, host, call, false, false);
}

/* Under the index's lock: only queues. What an operation is about to change comes behind that in its lane. */
static void recover(const struct sandbox *sandbox, void *ctx)
{
    struct look *look = ctx;
    struct runner_error err = ERROR_INIT;
    struct op *op;

    if (sandbox->host != look->host || sandbox->is_unread || sandbox->is_foreign ||
        (sandbox->record->state != SANDBOX_STARTED && sandbox->record->state != SANDBOX_PAUSED))
        return;
    op = op_new(look->engine, OP_RECOVER, sandbox->record->id);
    if (op_submit(op, &err) < 0)
        op_free(op);
}

int mend_network(struct engine *engine, struct host *host, struct runner_call *call, struct runner_error *err)
{
    struct look look = {.engine = engine, .host = host};

    if (!host->is_network_lost)
        atomic_fetch_add(&host->mends.lost, 1);
    host->is_network_lost = true;
    if (HOST_CALL(host, RUNNER_NETWORK, network, setup, call, err) < 0) {
        atomic_fetch_add(&host->mends.failed, 1);
        log_event(RUNNER_LOG_ERROR, "network.not_mended", "host", host->config->name, "error", err->message, NULL);
        return -1;
    }
    index_each(engine->index, look_at, &look);
    mend_sweep(engine, host, call, look.has_unreadable, look.has_foreign);
    index_each(engine->index, recover, &look);
    host->is_network_lost = false;
    atomic_fetch_add(&host->mends.mended, 1);
    log_event(RUNNER_LOG_INFO, "network.mended", "host", host->config->name, NULL);
    return 0;
}
