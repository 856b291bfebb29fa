#include "core/api-images.h"

#include <string.h>

#include "core/images/request.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/text.h"

#define INSPECT_MS 25000 /* the API gives up after 30 s */

struct asking { /* a request that a worker answers */
    struct task task;
    struct engine *engine;
    struct images *images;
    struct http_request *request;
    struct runner_call call;
    struct image_object object; /* inspect; from: tag */
    char *ref;                  /* of a query; to: tag */
};

static void asking_free(struct asking *a)
{
    image_object_wipe(&a->object);
    free(a->ref);
    call_done(&a->call);
    free(a);
}

/* ---- answers; worker ---- */

static int inspect(struct asking *a, struct str *body, struct runner_error *err)
{
    struct runner_object_info info = {.size = sizeof info};

    if (images_inspect(a->images, &a->call, &a->object, &info, err) < 0) {
        if (err->code == RUNNER_E_NOTSUP && a->call.host->instances[RUNNER_STORAGE] != NULL)
            err->code = RUNNER_E_EXISTS; /* another architecture, or no image: as a create of it is answered */
        return -1;
    }
    image_add_info(&info, body);
    return 0;
}

static int exists(struct asking *a, struct str *body, struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    const char *root = a->call.host->config->root;
    const char *colon = strrchr(a->ref, ':');
    bool is_latest = colon != NULL && strcmp(colon, ":latest") == 0; /* which is never here (contract 1.3) */
    bool is_here = !is_latest && snapshot_find(&a->call, root, a->ref, &snapshot, err) == 0;

    if (!is_here && err->code != 0 && err->code != RUNNER_E_NOTFOUND)
        return -1;
    json_open(body, NULL, '{');
    json_add_bool(body, "exists", is_here);
    json_close(body, '}');
    return 0;
}

/* 404: unknown, or it is on the way; 422: that it failed, and why. */
static int info(struct asking *a, struct str *body, int *ret_status, struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct image_progress progress;

    if (images_progress(a->images, a->ref, &progress))
        return fail(err, RUNNER_E_NOTFOUND, 0, "snapshot '%s' is being pulled", a->ref);
    if (images_failure(a->images, a->ref, err)) {
        *ret_status = 422;
        return -1;
    }
    if (snapshot_find(&a->call, a->call.host->config->root, a->ref, &snapshot, err) < 0)
        return -1;
    image_add_snapshot(snapshot, body);
    return 0;
}

static int tag(struct asking *a, struct str *body, struct runner_error *err)
{
    if (images_tag(a->images, &a->call, a->object.ref, a->ref, err) < 0)
        return -1;
    json_add_text(body, NULL, "Image tagged");
    return 0;
}

static int remove_ref(struct asking *a, struct str *body, struct runner_error *err)
{
    bool is_kept;

    if (images_remove(a->images, &a->call, a->ref, &is_kept, err) < 0)
        return -1;
    json_add_text(body, NULL, is_kept ? "Snapshot is in use, and stays" : "Snapshot removed");
    return 0;
}

static void add_busy(struct asking *a, const char *ref, struct str *body)
{
    struct image_progress progress;
    struct runner_error err = ERROR_INIT;

    json_open(body, NULL, '{');
    json_add_text(body, "name", ref);
    if (images_progress(a->images, ref, &progress)) {
        json_add_text(body, "state", "pulling");
        image_add_progress(&progress, body);
    } else {
        json_add_text(body, "state", "error");
        json_add_text(body, "message", images_failure(a->images, ref, &err) ? err.message : "");
    }
    json_close(body, '}');
}

static void add_here(struct asking *a, const char *ref, struct str *body)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    if (snapshot_find(&a->call, a->call.host->config->root, ref, &snapshot, &err) == 0) {
        image_add_snapshot(snapshot, body);
        return;
    }
    json_open(body, NULL, '{');
    json_add_text(body, "name", ref);
    json_add_text(body, "state", "error");
    json_add_text(body, "message", err.message);
    json_close(body, '}');
}

/* What is here, and what is on the way or failed lately; ours, not the contract's. */
static int list(struct asking *a, struct str *body, struct runner_error *err)
{
    auto_str struct str here = STR_INIT, busy = STR_INIT;
    void (*const add[])(struct asking *, const char *, struct str *) = {add_here, add_busy};
    struct str *const refs[] = {&here, &busy};

    if (snapshot_list(&a->call, a->call.host->config->root, &here, err) < 0)
        return -1;
    images_busy_refs(a->images, &busy);
    json_open(body, NULL, '{');
    json_open(body, "snapshots", '[');
    for (size_t i = 0; i < ARRAY_LEN(refs); i++)
        for (char *ref = refs[i]->ptr, *end; ref != NULL && (end = strchr(ref, '\n')) != NULL; ref = end + 1) {
            *end = '\0';
            add[i](a, ref, body);
        }
    json_close(body, ']');
    json_close(body, '}');
    return 0;
}

static void answer(struct task *task)
{
    struct asking *a = (struct asking *)task;
    struct runner_error err = ERROR_INIT;
    auto_str struct str body = STR_INIT;
    int status = host_wait_up(a->call.host, &a->call, &err), code = 0;

    if (status == 0)
        switch (a->request->route) {
        case HTTP_SNAPSHOT_INSPECT:
            status = inspect(a, &body, &err);
            break;
        case HTTP_SNAPSHOT_EXISTS:
            status = exists(a, &body, &err);
            break;
        case HTTP_SNAPSHOT_INFO:
            status = info(a, &body, &code, &err);
            break;
        case HTTP_SNAPSHOT_TAG:
            status = tag(a, &body, &err);
            break;
        case HTTP_SNAPSHOT_REMOVE:
            status = remove_ref(a, &body, &err);
            break;
        default:
            status = list(a, &body, &err);
            break;
        }
    if (status == 0)
        http_reply_json(a->request, 200, &body);
    else if (code != 0)
        http_reply_status(a->request, code, "%s", err.message);
    else if (err.code == RUNNER_E_CANCELLED && pool_is_draining(a->engine->pool))
        http_reply_status(a->request, 503, "the runner is stopping: %s", err.message);
    else
        http_reply_error(a->request, &err);
    asking_free(a);
}

/* ---- requests; loop thread ---- */

/* At once; how it ends is asked for later. */
static void pull(struct images *images, struct http_request *request)
{
    auto_pull_request struct pull_request wanted = {.tag = NULL};
    struct runner_error err = ERROR_INIT;
    auto_str struct str body = STR_INIT;
    struct image_wish wish;

    if (pull_request_read(request->body, &wanted, &err) == 0) {
        pull_request_wish(&wanted, &wish);
        if (images_begin(images, &wish, &err) == 0) {
            json_add_text(&body, NULL, "Pull started");
            http_reply_json(request, 202, &body);
            return;
        }
    }
    if (err.code == RUNNER_E_BUSY)
        http_reply_status(request, 503, "%s", err.message);
    else
        http_reply_error(request, &err);
}

static int read_query(struct http_request *request, const char *name, char **ret, struct runner_error *err)
{
    *ret = http_query(request, name);
    if (*ret == NULL || (*ret)[0] == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "%s: is required", name);
    return text_is_ref(*ret) ? 0
                             : fail(err, RUNNER_E_INVALID, 0, "%s: '%.100s' is not a snapshot reference", name, *ret);
}

static int read_tag(const struct json *body, struct asking *a, struct runner_error *err)
{
    const char *from = json_text(body, "sourceImage", ""), *to = json_text(body, "targetImage", "");

    if (!text_is_ref(from))
        return fail(err, RUNNER_E_INVALID, 0, "sourceImage: '%.100s' is not a snapshot reference", from);
    if (!text_is_ref(to))
        return fail(err, RUNNER_E_INVALID, 0, "targetImage: '%.100s' is not a snapshot reference", to);
    a->object.ref = mem_dup(from);
    a->ref = mem_dup(to);
    return 0;
}

static int read_request(struct http_request *request, struct asking *a, struct runner_error *err)
{
    switch (request->route) {
    case HTTP_SNAPSHOT_INSPECT:
        return image_object_read(request->body, &a->object, err);
    case HTTP_SNAPSHOT_TAG:
        return read_tag(request->body, a, err);
    case HTTP_SNAPSHOT_LIST:
        return 0;
    default:
        return read_query(request, "snapshot", &a->ref, err);
    }
}

static void ask(struct api *api, struct http_request *request)
{
    struct engine *engine = api->engine;
    struct host *host = engine_pick_host(engine);
    struct asking *a = mem_alloc(sizeof *a);
    struct runner_error err = ERROR_INIT;

    a->task.run = answer;
    a->engine = engine;
    a->images = host->images;
    a->request = request;
    call_init(&a->call, host, NULL,
              request->route == HTTP_SNAPSHOT_INSPECT ? INSPECT_MS : engine->config->timeouts.request_ms);
    if (read_request(request, a, &err) < 0) {
        http_reply_error(request, &err);
        asking_free(a);
    } else if (pool_submit(engine->pool, NULL, &a->task, POOL_ASKED, &err) < 0) {
        http_reply_status(request, 503, "%s", err.message);
        asking_free(a);
    }
}

bool api_images_handle(struct api *api, struct http_request *request)
{
    switch (request->route) {
    case HTTP_SNAPSHOT_PULL:
        pull(engine_pick_host(api->engine)->images, request);
        return true;
    case HTTP_SNAPSHOT_INSPECT:
    case HTTP_SNAPSHOT_EXISTS:
    case HTTP_SNAPSHOT_INFO:
    case HTTP_SNAPSHOT_TAG:
    case HTTP_SNAPSHOT_REMOVE:
    case HTTP_SNAPSHOT_LIST:
        ask(api, request);
        return true;
    case HTTP_SNAPSHOT_LOGS:
        http_reply_status(request, 404, "no snapshot is built on this runner, so there is no log of it");
        return true;
    default:
        return false;
    }
}
