/* Blobs into a registry: mounted, or sent, in pieces where they are large, and on from where it broke off. */
#include <string.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/storage/oci/program/refusal.h"
#include "plugins/storage/oci/program/report.h"
#include "plugins/storage/oci/program/upload.h"
#include "plugins/storage/oci/program/url.h"

#define FAILURES_MAX 4 /* of one blob, without any progress */
#define SMALL_MS     20000
#define NO_MORE      1000                /* failures of an exchange: it is not tried again as it is */
#define PIECE_BYTES  (INT64_C(32) << 20) /* what is sent at once, and lost when it breaks off */
#define ANSWER_BYTES (64 << 10)

int64_t upload_next(const char *range)
{
    const char *dash;
    int64_t last;

    (void)text_starts(range, "bytes=", &range);
    dash = strchr(range, '-');
    if (dash != range + 1 || range[0] != '0' || !num_int(dash + 1, 0, INT64_MAX - 1, &last))
        return -1;
    return last == 0 ? 0 : last + 1; /* "0-0" is nothing, and hardly ever one byte */
}

/* ---- an upload ---- */

/* Where it goes on, as the answer says. An address that nobody is to be sent to is an error. */
static int take_location(const struct registry *r, const struct try *t, char **location, struct runner_error *err)
{
    char *next = t->x.location != NULL ? url_resolve(t->url, t->x.location) : NULL;

    if (next == NULL)
        return 0;
    if (!registry_may_go(r, next)) {
        free(next);
        return fail(err, RUNNER_E_INVALID, 0,
                    "it wants blobs at '%.*s', where nothing is sent: it is neither https nor, where plain HTTP is "
                    "spoken, loopback or in `insecure`",
                    url_shown(t->x.location), t->x.location);
    }
    free(*location);
    *location = next;
    return 0;
}

/* Where to send it to: an address in *ret_location; NULL: it has been mounted. */
static int open_upload(struct registry *r, const char *digest, const char *from_path, char **ret_location,
                       struct runner_error *err)
{
    auto_str struct str url = STR_INIT;
    auto_free char *first = registry_url(r, "blobs/uploads/"), *what = mem_printf("blob %s", digest);
    struct try t = {.url = NULL};
    int status;

    str_add(&url, first);
    if (from_path != NULL) {
        url_add_query(&url, "mount", digest);
        url_add_query(&url, "from", from_path);
    }
    t.url = mem_dup(str_text(&url));
    t.x.method = "POST";
    t.x.body_max = ANSWER_BYTES;
    t.x.limit_ms = SMALL_MS;
    *ret_location = NULL;
    status = registry_run(r, &t, err);
    if (status == 0 && t.x.status == 202)
        status = take_location(r, &t, ret_location, err);
    if (status == 0 && *ret_location == NULL && (t.x.status != 201 || from_path == NULL))
        status = refusal(r, &t.x, what, err);
    try_done(r, &t);
    return status;
}

int upload_mount(struct registry *r, const char *digest, const char *from_path, struct runner_error *err)
{
    char *location;
    int status = open_upload(r, digest, from_path, &location, err);

    free(location); /* an upload that nobody goes on with: the registry forgets it */
    return status < 0 ? -1 : location == NULL;
}

/* ---- its bytes ---- */

struct upload {
    struct registry *registry;
    const struct descriptor *d;
    char *what; /* "blob sha256:..." */
    int fd;
    int64_t already, total; /* for the progress */
    char *location;         /* NULL: not begun, or it is not gone on with */
    int64_t done;           /* what the registry has */
    bool is_whole;          /* it takes no pieces */
};

static ssize_t give(void *arg, int64_t at, char *data, size_t size)
{
    const struct upload *u = arg;
    ssize_t n;

    do
        n = pread(u->fd, data, size, u->done + at);
    while (n < 0 && errno == EINTR);
    report_progress("push", (uint64_t)(u->already + u->done + at), (uint64_t)u->total);
    return n > 0 ? n : -1;
}

/* One exchange with what there is of it: bytes of it in a PATCH, or the rest and its digest in a PUT. */
static int send_some(struct upload *u, const char *method, int64_t bytes, struct try *t, struct runner_error *err)
{
    auto_str struct str url = STR_INIT;
    auto_free char *range = mem_printf("%lld-%lld", (long long)u->done, (long long)(u->done + bytes - 1));
    int status;

    str_add(&url, u->location);
    if (strcmp(method, "PUT") == 0)
        url_add_query(&url, "digest", u->d->digest);
    *t = (struct try){.failures = NO_MORE, .url = mem_dup(str_text(&url))};
    t->x.method = method;
    t->x.body_max = ANSWER_BYTES;
    if (bytes > 0) {
        t->x.content_type = "application/octet-stream";
        t->x.content_range = strcmp(method, "PATCH") == 0 ? range : NULL;
        t->x.source = give;
        t->x.source_bytes = bytes;
        t->x.arg = u;
    } else {
        t->x.limit_ms = SMALL_MS;
    }
    status = registry_run(u->registry, t, err);
    t->x.content_range = NULL;
    return status;
}

/* One that knows nothing of the upload, or has other bytes than was thought, may have got what it did not answer: libcurl
 * itself sends again what breaks off on a kept connection before an answer. */
static int refuse(const struct upload *u, const struct exchange *x, struct runner_error *err)
{
    (void)refusal(u->registry, x, u->what, err);
    if (u->is_whole || x->status == 404 || x->status == 416)
        err->retry = 1;
    return -1;
}

/* It may take less than it was sent. One that knows no pieces says so at the first. */
static int send_piece(struct upload *u, struct runner_error *err)
{
    int64_t left = u->d->size_bytes - u->done, bytes = left < PIECE_BYTES ? left : PIECE_BYTES, next;
    struct try t;
    int status = send_some(u, "PATCH", bytes, &t, err);

    if (status == 0 && t.x.status != 202 && t.x.status != 204 && t.x.status != 201) {
        u->is_whole = u->done == 0 && t.x.status >= 400 && t.x.status < 500 && t.x.status != 403 && t.x.status != 429;
        status = refuse(u, &t.x, err);
    } else if (status == 0) {
        next = t.x.range != NULL ? upload_next(t.x.range) : u->done + bytes;
        if (next < u->done || next > u->done + bytes)
            status = fail(err, RUNNER_E_IO, 0, "'%s' says that it has bytes %.60s", u->registry->server, t.x.range);
        else
            u->done = next;
        if (status == 0)
            status = take_location(u->registry, &t, &u->location, err);
    }
    try_done(u->registry, &t);
    return status;
}

static int send_end(struct upload *u, int64_t bytes, struct runner_error *err)
{
    struct try t;
    int status = send_some(u, "PUT", bytes, &t, err);

    if (status == 0 && t.x.status != 201)
        status = refuse(u, &t.x, err);
    try_done(u->registry, &t);
    return status;
}

/* After something went wrong: how much the registry has by now. One that does not say begins again. */
static int ask_how_far(struct upload *u, struct runner_error *err)
{
    struct try t = {.url = u->location};
    int64_t next = -1;
    int status;

    u->location = NULL;
    t.x.method = "GET";
    t.x.body_max = ANSWER_BYTES;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(u->registry, &t, err);
    if (status == 0 && (t.x.status == 204 || t.x.status == 202) && t.x.range != NULL)
        next = upload_next(t.x.range);
    if (next >= 0 && next <= u->d->size_bytes) {
        u->done = next;
        u->location = mem_dup(t.url);
        status = take_location(u->registry, &t, &u->location, err);
    }
    try_done(u->registry, &t);
    return status;
}

static int send_on(struct upload *u, struct runner_error *err)
{
    int64_t size = u->d->size_bytes;

    if (u->location == NULL) {
        u->done = 0;
        if (open_upload(u->registry, u->d->digest, NULL, &u->location, err) < 0)
            return -1;
    }
    if (u->is_whole || (u->done == 0 && size <= PIECE_BYTES))
        return send_end(u, size, err);
    while (u->done < size)
        if (send_piece(u, err) < 0)
            return -1;
    return send_end(u, 0, err);
}

/* After a failure: 0 when it may be tried again, with what the registry has, as far as it says; 1 when all was there, and only
 * its answer was lost; -1. */
static int recover(struct upload *u, int failures, struct runner_error *err)
{
    struct runner_error cause = *err;
    int has, asked = 0;

    if (err->retry == 0 || failures == FAILURES_MAX ||
        http_sleep(u->registry->http, (int64_t)failures * failures * 250, err) < 0)
        return -1;
    error_clear(err);
    has = upload_has_blob(u->registry, u->d->digest, err);
    if (has == 0 && u->location != NULL && !u->is_whole)
        asked = ask_how_far(u, err);
    if (has >= 0 && asked == 0) {
        if (u->is_whole) {
            free(u->location);
            u->location = NULL;
        }
        return has;
    }
    if (err->retry == 0) {
        if (err->code != RUNNER_E_CANCELLED && err->code != RUNNER_E_TIMEOUT)
            error_copy(err, &cause);
        return -1;
    }
    error_clear(err);
    return 0;
}

int upload_blob(struct registry *r, const struct descriptor *d, int fd, int64_t already, int64_t total,
                struct runner_error *err)
{
    struct upload u = {.registry = r, .d = d, .fd = fd, .already = already, .total = total};
    int64_t best = 0;
    int failures = 0, status;

    u.what = mem_printf("blob %s", d->digest);
    do {
        status = send_on(&u, err);
        if (u.done > best) {
            best = u.done;
            failures = 0;
        }
    } while (status < 0 && (status = recover(&u, ++failures, err)) == 0);
    status = status < 0 ? -1 : 0;
    if (status < 0 && strstr(err->message, u.what) == NULL)
        error_wrap(err, "push of %s to '%s'", u.what, r->server);
    free(u.location);
    free(u.what);
    return status;
}
