/* The token of a sandbox, on its way to the daemon in it. */
#include <string.h>

#include "core/guest.h"
#include "core/log.h"
#include "core/op.h"
#include "core/start-request.h"

#define TELL_MS 1000

struct telling {
    struct task task;
    struct host *host;
    char id[64];
    struct runner_nic nic;
    char *token;
};

/* Nobody waits for it, and the sandbox may be gone by now: what goes wrong costs its guest's telemetry. */
static void tell(struct task *task)
{
    struct telling *telling = (struct telling *)task;
    struct runner_error err = ERROR_INIT;
    struct runner_call call;

    call_init_alone(&call, telling->host, telling->id, TELL_MS);
    if (guest_tell_token(&call, &telling->nic, telling->token, &err) < 0)
        log_event(RUNNER_LOG_WARN, "daemon.token_not_told", "id", telling->id, "error", err.message, NULL);
    else
        log_event(RUNNER_LOG_DEBUG, "daemon.token_told", "id", telling->id, NULL);
    secret_free(telling->token);
    free(telling);
}

void op_tell_token(struct op *op, const struct sandbox *sandbox)
{
    const struct record *record = sandbox->record;
    struct runner_error err = ERROR_INIT;
    struct telling *telling;

    if (op->auth_token == NULL || !op->engine->config->api.init_daemon || record->boot.is_ready_by_log) /* no daemon */
        return;
    telling = mem_alloc(sizeof *telling);
    telling->task.run = tell;
    telling->host = sandbox->host;
    memcpy(telling->id, op->id, sizeof telling->id);
    telling->nic = record->nic;
    telling->token = op->auth_token;
    op->auth_token = NULL;
    if (pool_submit(op->engine->pool, NULL, &telling->task, POOL_ASKED, &err) == 0)
        return;
    log_event(RUNNER_LOG_WARN, "daemon.token_not_told", "id", telling->id, "error", err.message, NULL);
    secret_free(telling->token);
    free(telling);
}
