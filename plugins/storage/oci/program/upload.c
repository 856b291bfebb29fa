#include "plugins/storage/oci/program/upload.h"

#include <string.h>
#include <unistd.h>

#include "core/util/num.h"
#include "plugins/storage/oci/program/report.h"

#define UPLOADS_MAX 4 /* of one blob that breaks off */
#define SMALL_MS    20000
#define NO_MORE     1000 /* failures: it is not tried again from the middle */

int upload_has_blob(struct registry *r, const char *digest, struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "blobs/%s", digest)};
    int has;

    t.x.method = "HEAD";
    t.x.limit_ms = SMALL_MS;
    has = registry_run(r, &t, err);
    if (has == 0 && t.x.status == 200)
        has = 1;
    else if (has == 0 && t.x.status != 404)
        has = registry_refuse(r, &t.x, digest, err);
    try_done(r, &t);
    return has;
}

int upload_is_there(struct registry *r, const char digest[65], struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "manifests/%s", ref_reference(&r->object->ref))};
    int status;

    t.x.method = "HEAD";
    t.x.accept = MANIFEST_ACCEPT;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(r, &t, err);
    if (status == 0 && t.x.status != 200 && t.x.status != 404)
        status = registry_refuse(r, &t.x, r->object->text, err);
    else if (status == 0)
        status = t.x.status == 200 && t.x.digest != NULL && ref_is_digest(t.x.digest) &&
                 strcmp(REF_HEX(t.x.digest), digest) == 0;
    try_done(r, &t);
    return status;
}

/* ---- blobs ---- */

/* Where to send it to: an address in *ret_location; NULL: it has been mounted. */
static int open_upload(struct registry *r, const char *digest, const char *from_path, char **ret_location,
                       struct runner_error *err)
{
    auto_str struct str url = STR_INIT;
    struct try t = {.url = registry_url(r, "blobs/uploads/")};
    int status;

    str_add(&url, t.url);
    if (from_path != NULL) {
        http_add_query(&url, "mount", digest);
        http_add_query(&url, "from", from_path);
    }
    free(t.url);
    t.url = mem_dup(str_text(&url));
    t.x.method = "POST";
    t.x.body_max = 64 << 10;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(r, &t, err);
    *ret_location = NULL;
    if (status == 0 && t.x.status == 202 && t.x.location != NULL)
        *ret_location = http_resolve(t.url, t.x.location);
    if (*ret_location != NULL && !registry_may_go(r, *ret_location)) {
        status = fail(err, RUNNER_E_INVALID, 0, "it wants blobs at '%.*s', where nothing is sent",
                      http_shown(t.x.location), t.x.location);
        free(*ret_location);
        *ret_location = NULL;
    } else if (status == 0 && *ret_location == NULL && (t.x.status != 201 || from_path == NULL))
        status = registry_refuse(r, &t.x, digest, err);
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

struct source {
    int fd;
    int64_t already, total;
};

static ssize_t give(void *arg, int64_t at, char *data, size_t size)
{
    const struct source *s = arg;
    ssize_t n;

    do
        n = pread(s->fd, data, size, at);
    while (n < 0 && errno == EINTR);
    report_progress("push", (uint64_t)(s->already + at), (uint64_t)s->total);
    return n > 0 ? n : -1;
}

static int send_once(struct registry *r, const struct descriptor *d, struct source *source, struct runner_error *err)
{
    auto_str struct str url = STR_INIT;
    auto_free char *location = NULL;
    struct try t = {.failures = NO_MORE};
    int status;

    if (open_upload(r, d->digest, NULL, &location, err) < 0)
        return -1;
    str_add(&url, location);
    http_add_query(&url, "digest", d->digest);
    t.url = mem_dup(str_text(&url));
    t.x.method = "PUT";
    t.x.content_type = "application/octet-stream";
    t.x.body_max = 64 << 10;
    t.x.source = give;
    t.x.source_bytes = d->size_bytes;
    t.x.arg = source;
    status = registry_run(r, &t, err);
    if (status == 0 && t.x.status != 201)
        status = registry_refuse(r, &t.x, d->digest, err);
    try_done(r, &t);
    return status;
}

int upload_blob(struct registry *r, const struct descriptor *d, int fd, int64_t already, int64_t total,
                struct runner_error *err)
{
    struct source source = {.fd = fd, .already = already, .total = total};

    for (int64_t n = 1;; n++) {
        if (send_once(r, d, &source, err) == 0)
            return 0;
        error_wrap(err, "push of %s to '%s'", d->digest, r->server);
        if (err->retry == 0 || n == UPLOADS_MAX)
            return -1;
        if (http_sleep(r->http, n * n * 250, err) < 0)
            return -1;
    }
}

/* ---- manifests ---- */

static ssize_t give_manifest(void *arg, int64_t at, char *data, size_t size)
{
    memcpy(data, ((const struct manifest *)arg)->text + at, size);
    return (ssize_t)size;
}

int upload_manifest(struct registry *r, const struct manifest *m, struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "manifests/%s", ref_reference(&r->object->ref))};
    int status;

    t.x.method = "PUT";
    t.x.content_type = m->media_type;
    t.x.body_max = 64 << 10;
    t.x.limit_ms = SMALL_MS;
    t.x.source = give_manifest;
    t.x.source_bytes = (int64_t)m->len;
    t.x.arg = (void *)(uintptr_t)m;
    status = registry_run(r, &t, err);
    if (status == 0 && t.x.status != 201 && t.x.status != 200)
        status = registry_refuse(r, &t.x, r->object->text, err);
    if (status == 0 && t.x.digest != NULL && ref_is_digest(t.x.digest) && strcmp(REF_HEX(t.x.digest), m->digest) != 0)
        status = fail(err, RUNNER_E_IO, 0, "'%s' keeps '%s' as %s, not as sha256:%s", r->server, r->object->text,
                      t.x.digest, m->digest);
    try_done(r, &t);
    return status;
}
