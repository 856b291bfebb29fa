#include "plugins/storage/oci/program/upload.h"

#include <string.h>

#include "plugins/storage/oci/program/refusal.h"

#define SMALL_MS 20000

int upload_has_blob(struct registry *r, const char *digest, struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "blobs/%s", digest)};
    auto_free char *what = mem_printf("blob %s", digest);
    int has;

    t.x.method = "HEAD";
    t.x.limit_ms = SMALL_MS;
    has = registry_run(r, &t, err);
    if (has == 0 && t.x.status == 200)
        has = 1;
    else if (has == 0 && t.x.status != 404)
        has = refusal(r, &t.x, what, err);
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
        status = refusal(r, &t.x, r->object->text, err);
    else if (status == 0)
        status = t.x.status == 200 && t.x.digest != NULL && ref_is_digest(t.x.digest) &&
                 strcmp(REF_HEX(t.x.digest), digest) == 0;
    try_done(r, &t);
    return status;
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
        status = refusal(r, &t.x, r->object->text, err);
    if (status == 0 && t.x.digest != NULL && ref_is_digest(t.x.digest) && strcmp(REF_HEX(t.x.digest), m->digest) != 0)
        status = fail(err, RUNNER_E_IO, 0, "'%s' keeps '%s' as %s, not as sha256:%s", r->server, r->object->text,
                      t.x.digest, m->digest);
    try_done(r, &t);
    return status;
}
