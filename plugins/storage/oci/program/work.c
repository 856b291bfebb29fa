#include "plugins/storage/oci/program/work.h"

#include <string.h>

#include "plugins/storage/oci/program/delete.h"
#include "plugins/storage/oci/program/disk.h"
#include "plugins/storage/oci/program/image.h"
#include "plugins/storage/oci/program/pack.h"

struct work {
    const struct request *request;
    struct http *http;
    struct http_settings settings;
    struct store store;
    struct registry from, to;
    struct image image;
};

static void work_done(struct work *w)
{
    image_done(&w->image);
    registry_done(&w->from);
    registry_done(&w->to);
    if (w->store.dir != NULL && request_has_blobs(w->request))
        (void)store_trim(&w->store, w->request->cache_bytes);
    store_close(&w->store);
    http_free(w->http);
}

static void add_info(const struct manifest *m, struct str *out)
{
    json_add_text(out, "digest", m->digest);
    json_add_int(out, "size", manifest_size(m));
}

static int open_from(struct work *w, struct runner_error *err)
{
    return registry_open(w->http, w->request, &w->request->from, false, NULL, &w->from, err);
}

/* Of the same server it may take blobs from where they are. */
static int open_to(struct work *w, struct runner_error *err)
{
    const struct ref *from = &w->request->from.ref, *to = &w->request->to.ref;
    bool is_same = from->server != NULL && strcmp(from->server, to->server) == 0;

    return registry_open(w->http, w->request, &w->request->to, true, is_same ? from->path : NULL, &w->to, err);
}

static int inspect(struct work *w, struct str *out, struct runner_error *err)
{
    if (open_from(w, err) < 0 || image_look(&w->from, &w->store, &w->image, err) < 0)
        return -1;
    add_info(&w->image.manifest, out);
    return 0;
}

static int pull_once(struct work *w, struct str *out, struct runner_error *err)
{
    if (image_look(&w->from, &w->store, &w->image, err) < 0 || image_fetch(&w->from, &w->store, &w->image, err) < 0)
        return -1;
    if (w->request->to.text != NULL &&
        (open_to(w, err) < 0 || image_push(&w->from, &w->to, &w->store, &w->image, err) < 0))
        return error_wrap(err, "keep '%.160s'", w->request->to.text);
    add_info(&w->image.manifest, out);
    return disk_make(&w->image, w->request->dir, out, err);
}

/* On a full disk blobs that are kept for later go first: they can be fetched again, and are not what sandboxes run on. */
static int pull(struct work *w, struct str *out, struct runner_error *err)
{
    size_t len = out->len;
    int status;

    if (open_from(w, err) < 0)
        return -1;
    status = pull_once(w, out, err);
    if (status == 0 || err->code != RUNNER_E_NOSPACE || store_trim(&w->store, 0) == 0)
        return status;
    image_done(&w->image);
    registry_done(&w->to);
    w->to = (struct registry){.http = NULL};
    out->len = len;
    error_clear(err);
    return pull_once(w, out, err);
}

static int push(struct work *w, struct str *out, struct runner_error *err)
{
    const struct request *r = w->request;

    if (r->format == NULL || strcmp(r->format, "raw") != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "only raw disks can be kept in a registry, not %s", r->format);
    if (open_to(w, err) < 0 ||
        pack_disk(r->disk_fd, r->path, r->image_json != NULL ? r->image_json : "{}", &w->store, &r->limits, &w->image,
                  err) < 0 ||
        image_push(NULL, &w->to, &w->store, &w->image, err) < 0)
        return -1;
    add_info(&w->image.manifest, out);
    return 0;
}

static int copy(struct work *w, struct str *out, struct runner_error *err)
{
    if (open_from(w, err) < 0 || image_look(&w->from, &w->store, &w->image, err) < 0)
        return -1;
    if (open_to(w, err) < 0 || image_push(&w->from, &w->to, &w->store, &w->image, err) < 0)
        return error_wrap(err, "copy to '%.160s'", w->request->to.text);
    add_info(&w->image.manifest, out);
    return 0;
}

static int remove_(struct work *w, struct str *out, struct runner_error *err)
{
    (void)out;
    if (registry_open(w->http, w->request, &w->request->from, true, NULL, &w->from, err) < 0)
        return -1;
    return delete_name(&w->from, err);
}

/* Who reads the error has not seen what was asked for. */
static void name_image(const struct request *r, struct runner_error *err)
{
    const char *text = r->operation == OPERATION_PUSH ? r->to.text : r->from.text;

    if (err->code != RUNNER_E_CANCELLED && err->code != RUNNER_E_TIMEOUT && strstr(err->message, text) == NULL)
        error_wrap(err, "'%.160s'", text);
}

int work_run(const struct request *request, struct str *ret_members, struct runner_error *err)
{
    static int (*const operations[])(struct work *, struct str *, struct runner_error *) = {
        [OPERATION_INSPECT] = inspect, [OPERATION_PULL] = pull,      [OPERATION_PUSH] = push,
        [OPERATION_COPY] = copy,       [OPERATION_REMOVE] = remove_,
    };
    struct work w = {.request = request, .settings = {request->ca_file, request->stall_ms}};
    int status = request_has_blobs(request) ? store_open(request->store, &w.store, err) : 0;

    if (request->operation == OPERATION_INSPECT) {
        (void)store_open(request->store, &w.store, NULL); /* nothing may be there yet */
        w.store.is_only_read = true;
    }
    if (status == 0)
        status = http_new(&w.settings, &w.http, err);
    if (status == 0)
        status = operations[request->operation](&w, ret_members, err);
    if (status < 0)
        name_image(request, err);
    work_done(&w);
    return status;
}
