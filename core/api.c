#include "core/api.h"

#include <string.h>

#include "core/api-guest.h"
#include "core/api-images.h"
#include "core/create-request.h"
#include "core/images/request.h"
#include "core/op.h"
#include "core/recover-request.h"
#include "core/resize-request.h"
#include "core/start-request.h"
#include "core/util/error.h"
#include "core/util/recoverable.h"
#include "core/view.h"

/* ---- operations ---- */

struct pending { /* a request whose operation runs */
    struct api *api;
    struct http_request *request;
};

static void add_timings(const struct op *op, struct str *out)
{
    json_add_text(out, "daemonVersion", op->daemon_version != NULL ? op->daemon_version : "");
    json_open(out, "timings", '[');
    json_open(out, NULL, '{');
    json_add_text(out, "phase", "queue");
    json_add_thousandths(out, "ms", (uint64_t)(op->started_us - op->queued_us));
    json_close(out, '}');
    for (size_t i = 0; i < op->n_timings; i++) {
        json_open(out, NULL, '{');
        json_add_text(out, "phase", op->timings[i].phase);
        json_add_thousandths(out, "ms", (uint64_t)op->timings[i].us);
        json_close(out, '}');
    }
    json_close(out, ']');
}

static void reply_text(struct http_request *request, const char *text)
{
    auto_str struct str body = STR_INIT;

    json_add_text(&body, NULL, text);
    http_reply_json(request, 200, &body);
}

static void reply_done(struct http_request *request, const struct op *op)
{
    static const char *const done[OP_KINDS] = {
        [OP_STOP] = "Sandbox stopped",           [OP_PAUSE] = "Sandbox paused",     [OP_RESUME] = "Sandbox resumed",
        [OP_DESTROY] = "Sandbox destroyed",      [OP_REPAIR] = "Sandbox recovered", [OP_RESIZE] = "Sandbox resized",
        [OP_POLICY] = "Network settings updated"};
    auto_str struct str body = STR_INIT;

    if (done[op->kind] != NULL) {
        reply_text(request, done[op->kind]);
        return;
    }
    json_open(&body, NULL, '{');
    add_timings(op, &body);
    json_close(&body, '}');
    http_reply_json(request, op->kind == OP_CREATE ? 201 : 200, &body);
}

/* Worker: the last word on an operation. */
static void on_done(struct op *op, void *ctx)
{
    struct pending *pending = ctx;

    /* A paused guest's idle connections go: a request on one would hang, where a new one is refused. */
    if (op->kind == OP_PAUSE)
        http_forget(pending->api->server, op->id, false);
    if (op->is_refused && op->err.code != 0)
        http_reply_status(pending->request, 503, "%s", op->err.message);
    else if (op->kind == OP_REPAIR && strstr(op->err.message, RECOVER_EXHAUSTED) != NULL)
        http_reply_status(pending->request, 403, "%s", op->err.message);
    else if (op->err.code != 0)
        http_reply_error(pending->request, &op->err);
    else
        reply_done(pending->request, op);
    free(pending);
}

static void submit(struct api *api, struct http_request *request, struct op *op)
{
    struct pending *pending = mem_alloc(sizeof *pending);
    struct runner_error err = ERROR_INIT;

    pending->api = api;
    pending->request = request;
    op->done = on_done;
    op->ctx = pending;
    if (op_submit(op, &err) == 0)
        return;
    http_reply_status(request, 503, "%s", err.message);
    free(pending);
    op_free(op);
}

static void submit_create(struct api *api, struct http_request *request, struct record *plan)
{
    struct op *op = op_new_create(api->engine, plan);
    struct runner_error err = ERROR_INIT;

    if (start_request_token(json_get(request->body, "authToken"), &op->auth_token, &err) == 0 &&
        image_source_read(request->body, plan->snapshot, &op->source, &err) == 0) {
        submit(api, request, op);
        return;
    }
    http_reply_error(request, &err);
    op_free(op);
}

static void create(struct api *api, struct http_request *request)
{
    struct engine *engine = api->engine;
    struct runner_error err = ERROR_INIT;
    struct record *plan = NULL;
    const char *field = "";

    if (create_request_plan(engine->config, engine_pick_host(engine)->config, request->body, &plan, &field, &err) == 0)
        submit_create(api, request, plan);
    else if (err.code == RUNNER_E_INVALID)
        http_reply_field(request, field, "%s", err.message);
    else
        http_reply_error(request, &err);
}

static void operate(struct api *api, struct http_request *request, enum op_kind kind)
{
    struct op *op = op_new(api->engine, kind, request->id);

    op->force = kind == OP_STOP && json_bool(request->body, "force", false);
    submit(api, request, op);
}

/* The body is the metadata itself, the token a parameter of the query (contract 1.3). */
static int read_start(struct http_request *request, struct op *op, struct runner_error *err)
{
    char *token = http_query(request, "token");
    const struct json text = {.type = token != NULL ? JSON_STRING : JSON_NULL, .text = token};
    int status = start_request_token(&text, &op->auth_token, err);

    secret_free(token);
    return status < 0 ? -1 : start_request_metadata(request->body, &op->metadata, err);
}

static void start(struct api *api, struct http_request *request)
{
    struct op *op = op_new(api->engine, OP_START, request->id);
    struct runner_error err = ERROR_INIT;

    if (read_start(request, op, &err) == 0) {
        submit(api, request, op);
        return;
    }
    http_reply_error(request, &err);
    op_free(op);
}

static void recover(struct api *api, struct http_request *request)
{
    struct op *op = op_new(api->engine, OP_REPAIR, request->id);
    struct runner_error err = ERROR_INIT;

    if (recover_request_read(request->body, &op->is_full, &err) == 0) {
        submit(api, request, op);
        return;
    }
    http_reply_error(request, &err);
    op_free(op);
}

static void resize(struct api *api, struct http_request *request)
{
    struct engine *engine = api->engine;
    struct op *op = op_new(engine, OP_RESIZE, request->id);
    struct runner_error err = ERROR_INIT;

    if (resize_request_read(engine->config, op->host->config, request->body, &op->resize, &err) == 0) {
        submit(api, request, op);
        return;
    }
    http_reply_error(request, &err);
    op_free(op);
}

static void set_network(struct api *api, struct http_request *request)
{
    struct op *op = op_new(api->engine, OP_POLICY, request->id);
    struct runner_error err = ERROR_INIT;
    const char *field = "";

    if (policy_change_read(request->body, &op->change, &field, &err) == 0) {
        submit(api, request, op);
        return;
    }
    http_reply_field(request, field, "%s", err.message);
    op_free(op);
}

/* By its text alone (contract 1.3). */
static void is_recoverable(struct http_request *request)
{
    const char *reason = json_text(request->body, "errorReason", "");
    auto_str struct str body = STR_INIT;

    if (reason[0] == '\0') {
        http_reply_field(request, "errorReason", "is required");
        return;
    }
    json_open(&body, NULL, '{');
    json_add_bool(&body, "recoverable", recoverable_is(reason));
    json_close(&body, '}');
    http_reply_json(request, 200, &body);
}

/* ---- views: on a worker, since they may wait for start-up to end, or read from the host ---- */

struct viewing {
    struct task task;
    struct api *api;
    struct http_request *request;
    struct runner_call call;
};

static bool wants_stats(struct http_request *request)
{
    auto_free char *stats = http_query(request, "stats");

    return stats != NULL && strcmp(stats, "true") == 0;
}

static void view_run(struct task *task)
{
    struct viewing *v = (struct viewing *)task;
    struct engine *engine = v->api->engine;
    struct http_request *request = v->request;
    struct runner_error err = ERROR_INIT;
    auto_str struct str body = STR_INIT;
    auto_free char *tail = NULL;
    const char *type = "application/json";
    int status = 0;

    switch (request->route) {
    case HTTP_INFO:
        view_info(engine, &v->call, &body);
        break;
    case HTTP_METRICS:
        view_metrics(engine, &v->call, v->api->server, &body);
        type = "text/plain; version=0.0.4";
        break;
    case HTTP_SANDBOX_LIST:
        status = view_list(engine, &v->call, wants_stats(request), &body, &err);
        break;
    case HTTP_SANDBOX_LOG:
        tail = http_query(request, "tail");
        status = view_log(engine, &v->call, request->id, tail, &body, &err);
        type = "text/plain; charset=utf-8";
        break;
    case HTTP_SANDBOX_NETWORK_GET:
        status = view_network(engine, &v->call, request->id, &body, &err);
        break;
    default:
        status = view_sandbox(engine, &v->call, request->id, wants_stats(request), &body, &err);
        break;
    }
    if (status < 0)
        http_reply_error(request, &err);
    else
        http_reply(request, 200, type, str_text(&body), body.len);
    call_done(&v->call);
    free(v);
}

static void view(struct api *api, struct http_request *request)
{
    struct viewing *v = mem_alloc(sizeof *v);
    struct runner_error err = ERROR_INIT;

    v->task.run = view_run;
    v->api = api;
    v->request = request;
    call_init(&v->call, engine_pick_host(api->engine), NULL, api->engine->config->timeouts.request_ms);
    if (pool_submit(api->engine->pool, NULL, &v->task, POOL_ASKED, &err) == 0)
        return;
    http_reply_status(request, 503, "%s", err.message);
    call_done(&v->call);
    free(v);
}

static void index_page(struct http_request *request)
{
    auto_str struct str body = STR_INIT;

    json_open(&body, NULL, '{');
    json_add_text(&body, "status", "ok");
    json_add_text(&body, "version", VERSION_TEXT);
    json_close(&body, '}');
    http_reply_json(request, 200, &body);
}

static void handle(void *ctx, struct http_request *request)
{
    struct api *api = ctx;

    switch (request->route) {
    case HTTP_INDEX:
        index_page(request);
        break;
    case HTTP_SANDBOX_CREATE:
        create(api, request);
        break;
    case HTTP_SANDBOX_START:
        start(api, request);
        break;
    case HTTP_SANDBOX_STOP:
        operate(api, request, OP_STOP);
        break;
    case HTTP_SANDBOX_PAUSE:
        operate(api, request, OP_PAUSE);
        break;
    case HTTP_SANDBOX_RESUME:
        operate(api, request, OP_RESUME);
        break;
    case HTTP_SANDBOX_DESTROY:
        operate(api, request, OP_DESTROY);
        break;
    case HTTP_SANDBOX_RECOVER:
        recover(api, request);
        break;
    case HTTP_SANDBOX_RESIZE:
        resize(api, request);
        break;
    case HTTP_SANDBOX_NETWORK:
        set_network(api, request);
        break;
    case HTTP_SANDBOX_IS_RECOVERABLE:
        is_recoverable(request);
        break;
    case HTTP_INFO:
    case HTTP_METRICS:
    case HTTP_SANDBOX_LIST:
    case HTTP_SANDBOX_GET:
    case HTTP_SANDBOX_LOG:
    case HTTP_SANDBOX_NETWORK_GET:
        view(api, request);
        break;
    default:
        if (!api_images_handle(api, request))
            http_reply_status(request, 501, "this route is not supported yet");
    }
}

/* Idle connections to it, and those in use: where its TAP is gone, no packet says that they are dead. */
static void on_vm_gone(void *ctx, const char *id)
{
    struct api *api = ctx;

    http_forget(api->server, id, true);
}

void api_backend(struct api *api, struct http_backend *ret)
{
    api->engine->vm_gone = on_vm_gone;
    api->engine->vm_gone_ctx = api;
    *ret = (struct http_backend){.ctx = api, .submit = api_guest_submit, .dial = api_guest_dial, .handle = handle};
}
