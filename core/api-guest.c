/* The HTTP server's way to a port of a guest. */
#include "core/api-guest.h"

#include <stdio.h>

#include "core/api.h"
#include "core/guest.h"
#include "core/util/error.h"

struct dial_task {
    struct task task;
    void (*run)(void *);
    void *job;
};

static void dial_run(struct task *task)
{
    struct dial_task *dial = (struct dial_task *)task;

    dial->run(dial->job);
    free(dial);
}

int api_guest_submit(void *ctx, const char *id, void (*run)(void *job), void *job)
{
    struct api *api = ctx;
    struct dial_task *dial = mem_alloc(sizeof *dial);
    auto_free char *lane = mem_printf("dial %s", id); /* not the lane of its operations, which may take minutes */

    dial->task.run = dial_run;
    dial->run = run;
    dial->job = job;
    if (pool_submit(api->engine->pool, lane, &dial->task, POOL_ASKED, NULL) == 0)
        return 0;
    free(dial);
    return -1;
}

/* The address of a guest's port; a network that reaches only the daemon gets a path through it. */
static int resolve(struct host *host, const struct runner_nic *nic, int port, char *address, size_t size,
                   struct http_dialed *ret, struct runner_error *err)
{
    int length = 0;

    if (HOST_CALL(host, RUNNER_NETWORK, network, address, nic, (uint32_t)port, address, size, err) == 0)
        return 0;
    if (err->code != RUNNER_E_NOTSUP)
        return -1;
    length = snprintf(ret->prefix, sizeof ret->prefix, "/proxy/%d", port);
    if (length < 0 || (size_t)length >= sizeof ret->prefix)
        return fail(err, RUNNER_E_INVALID, 0, "port %d", port);
    return HOST_CALL(host, RUNNER_NETWORK, network, address, nic, GUEST_DAEMON_PORT, address, size, err);
}

static int guest_nic(struct engine *engine, const char *id, struct host **ret_host, struct runner_nic *ret,
                     struct runner_error *err)
{
    struct sandbox *sandbox = index_get(engine->index, id);
    bool is_started;

    if (sandbox == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no sandbox '%s'", id);
    index_lock(engine->index);
    is_started = sandbox->record->state == SANDBOX_STARTED;
    *ret = sandbox->record->nic;
    *ret_host = sandbox->host;
    index_unlock(engine->index);
    index_put(engine->index, sandbox);
    return is_started
               ? 0
               : fail(err, RUNNER_E_INVALID, 0, "no IP address found for sandbox '%s'. Is the Sandbox started?", id);
}

int api_guest_dial(void *ctx, const char *id, int port, int64_t timeout_ms, struct http_dialed *ret,
                   struct runner_error *err)
{
    struct api *api = ctx;
    struct runner_nic nic;
    struct runner_call call;
    char address[80];
    struct host *host = engine_pick_host(api->engine);
    int status;

    call_init(&call, host, id, timeout_ms);
    ret->prefix[0] = '\0';
    status = host_wait_up(host, &call, err);
    if (status == 0)
        status = guest_nic(api->engine, id, &host, &nic, err);
    call.host = host;
    if (status == 0)
        status = resolve(host, &nic, port, address, sizeof address, ret, err);
    if (status == 0)
        (void)snprintf(ret->host, sizeof ret->host, "%s:%d", nic.address,
                       ret->prefix[0] != '\0' ? GUEST_DAEMON_PORT : port);
    if (status == 0 && (status = host_dial(host, &call, address, &ret->fd, err)) < 0 && err->code == RUNNER_E_INVALID)
        err->code = RUNNER_E_UNREACHABLE; /* what the client asked for was fine */
    call_done(&call);
    return status;
}
