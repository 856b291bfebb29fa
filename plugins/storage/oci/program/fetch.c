#include "plugins/storage/oci/program/fetch.h"

#include <stdio.h>
#include <string.h>

#include "core/util/num.h"
#include "plugins/storage/oci/program/refusal.h"
#include "plugins/storage/oci/program/report.h"

#define LOCK_MS 50 /* another process makes the blob: there is no event for the end of its lock */
#define IDLE_MS 1000

enum state { WAITING, RUNNING, READY };

struct one { /* of the blobs that are fetched */
    struct blob *blob;
    struct try t;
    enum state state;
    bool is_begun, is_restarted;
    bool has_begun_body;
};

struct fetch {
    struct registry *registry;
    struct one *all;
    size_t n;
    int64_t running, already, total;
};

/* From where on the server answers, or -1. */
static int64_t start_of(const struct exchange *x, int status)
{
    long long start;

    if (status != 206)
        return 0;
    return x->range != NULL && sscanf(x->range, "bytes %lld-", &start) == 1 ? start : -1;
}

static bool take(void *arg, int status, const char *data, size_t len)
{
    struct one *one = arg;
    struct blob *b = one->blob;

    if (!one->has_begun_body) {
        int64_t start = start_of(&one->t.x, status);

        one->has_begun_body = true;
        if (start != b->have && start != 0) {
            (void)fail(&b->fault, RUNNER_E_INVALID, 0, "blob %s: another part came than was asked for", b->d->digest);
            return false;
        }
        if (start == 0 && b->have > 0 && blob_restart(b, &b->fault) < 0)
            return false;
    }
    return blob_add(b, data, len);
}

static int begin(struct fetch *f, struct one *one, struct runner_error *err)
{
    struct blob *b = one->blob;

    if (!one->is_begun) {
        int got = blob_begin(b, err);

        if (got < 0)
            return -1;
        if (got == 0) {
            one->t.not_before_ms = num_now_ms() + LOCK_MS;
            return 0;
        }
        one->is_begun = true;
    }
    if (!b->is_whole && b->have == b->d->size_bytes && blob_commit(b, err) < 0)
        return -1;
    if (b->is_whole) {
        one->state = READY;
        return 0;
    }
    one->t.x.from = b->have;
    one->has_begun_body = false;
    registry_prepare(f->registry, &one->t);
    if (http_start(f->registry->http, &one->t.x, err) < 0)
        return -1;
    one->state = RUNNING;
    f->running++;
    return 0;
}

static int begin_more(struct fetch *f, struct runner_error *err)
{
    int64_t now = num_now_ms();

    for (size_t i = 0; i < f->n && f->running < f->registry->request->parallel; i++)
        if (f->all[i].state == WAITING && f->all[i].t.not_before_ms <= now && begin(f, &f->all[i], err) < 0)
            return -1;
    return 0;
}

/* The body came to its end: is it all? */
static int finish(struct one *one, struct runner_error *err)
{
    struct blob *b = one->blob;
    bool was_resumed = b->is_resumed;

    if (b->have < b->d->size_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "blob %s: %lld bytes, its manifest says %lld", b->d->digest,
                    (long long)b->have, (long long)b->d->size_bytes);
    if (blob_commit(b, err) == 0) {
        one->state = READY;
        return 0;
    }
    if (!was_resumed || one->is_restarted || err->code != RUNNER_E_INVALID)
        return -1;
    one->is_restarted = true; /* what an earlier process left was not the beginning of it */
    error_clear(err);
    cleanup_close(&b->fd);
    b->fd = -1;
    b->have = 0;
    one->is_begun = false;
    one->state = WAITING;
    return 0;
}

static int refuse(const struct fetch *f, const struct one *one, struct runner_error *err)
{
    auto_free char *what = mem_printf("blob %s", one->blob->d->digest);

    return refusal(f->registry, &one->t.x, what, err);
}

static int take_end(struct fetch *f, struct one *one, struct runner_error *err)
{
    struct blob *b = one->blob;
    int verdict, status = one->t.x.status;

    f->running--;
    one->state = WAITING;
    if (b->fault.code != 0) {
        error_copy(err, &b->fault);
        return -1;
    }
    if (b->have > one->t.x.from)
        one->t.failures = 0; /* it goes on, if in pieces */
    verdict = registry_judge(f->registry, &one->t, err);
    if (verdict < 0)
        return error_wrap(err, "blob %s from '%s'", b->d->digest, f->registry->server);
    if (verdict == TRY_AGAIN)
        return 0;
    if (status == 200 || status == 206)
        return finish(one, err);
    if (status == 416 && b->have > 0)
        return blob_restart(b, err);
    return refuse(f, one, err);
}

static int64_t until_next(const struct fetch *f)
{
    int64_t next = INT64_MAX, now = num_now_ms();

    if (f->running < f->registry->request->parallel)
        for (size_t i = 0; i < f->n; i++)
            if (f->all[i].state == WAITING && f->all[i].t.not_before_ms < next)
                next = f->all[i].t.not_before_ms;
    return next <= now ? 0 : next - now < IDLE_MS ? next - now : IDLE_MS;
}

static void tell(const struct fetch *f)
{
    int64_t done = f->already;

    for (size_t i = 0; i < f->n; i++)
        done += f->all[i].blob->have;
    report_progress("fetch", (uint64_t)done, (uint64_t)f->total);
}

static bool is_all(const struct fetch *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->all[i].state != READY)
            return false;
    return true;
}

static int work(struct fetch *f, struct runner_error *err)
{
    while (!is_all(f)) {
        if (begin_more(f, err) < 0)
            return -1;
        if (is_all(f))
            break;
        if (http_step(f->registry->http, until_next(f), err) < 0)
            return -1;
        for (size_t i = 0; i < f->n; i++)
            if (f->all[i].state == RUNNING && f->all[i].t.x.is_done && take_end(f, &f->all[i], err) < 0)
                return -1;
        tell(f);
    }
    tell(f);
    return 0;
}

int fetch_blobs(struct registry *registry, struct blob *blobs, size_t n, int64_t already, int64_t total,
                struct runner_error *err)
{
    struct fetch f = {.registry = registry, .n = n, .already = already, .total = total};
    int status;

    f.all = mem_array(n, sizeof *f.all);
    for (size_t i = 0; i < n; i++) {
        struct one *one = &f.all[i];

        one->blob = &blobs[i];
        one->t.url = registry_url(registry, "blobs/%s", blobs[i].d->digest);
        one->t.x.method = "GET";
        one->t.x.sink = take;
        one->t.x.arg = one;
    }
    status = work(&f, err);
    for (size_t i = 0; i < n; i++)
        try_done(registry, &f.all[i].t);
    free(f.all);
    return status;
}
