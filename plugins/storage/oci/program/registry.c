#include "plugins/storage/oci/program/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/storage/oci/program/refusal.h"
#include "plugins/storage/oci/program/token.h"
#include "plugins/storage/oci/program/url.h"

#define FAILURES_MAX    6 /* of one exchange, without any progress */
#define REFUSALS_MAX    3 /* of connecting: who is not there is not waited for long */
#define REDIRECTS_MAX   5
#define BACK_OFF_MS     200
#define BACK_OFF_MAX    8000
#define RETRY_AFTER_MAX 60000
#define SMALL_MS        20000 /* limit of an exchange that moves little */

#define HUB_SERVER "registry-1.docker.io"

/* ---- where it is ---- */

void registry_done(struct registry *r)
{
    if (r->authorization != NULL)
        explicit_bzero(r->authorization, strlen(r->authorization));
    free(r->authorization);
    free(r->also_pull);
    free(r->server);
    free(r->base);
    free(r->origin);
    *r = (struct registry){.http = NULL};
}

static void set_base(struct registry *r, const char *scheme)
{
    free(r->base);
    free(r->origin);
    r->base = mem_printf("%s://%s", scheme, r->server);
    r->origin = url_origin(r->base);
}

char *registry_url(const struct registry *r, const char *format, ...)
{
    auto_str struct str url = STR_INIT;
    va_list args;

    str_addf(&url, "%s/v2/%s/", r->base, r->object->ref.path);
    va_start(args, format);
    str_addv(&url, format, args);
    va_end(args);
    return str_steal(&url);
}

/* Says what it wants of who asks; an answer of any kind shows that it is there. */
static int ping(struct registry *r, struct try *t, struct runner_error *err)
{
    t->url = mem_printf("%s/v2/", r->base);
    t->x.method = "GET";
    t->x.body_max = 64 << 10;
    t->x.limit_ms = SMALL_MS;
    return registry_run(r, t, err);
}

static int look(struct registry *r, struct runner_error *err)
{
    struct try t = {.url = NULL};
    int status = ping(r, &t, err);

    if (status < 0 && t.x.is_tls_failure && request_may_be_plain(r->request, r->server)) {
        try_done(r, &t);
        t = (struct try){.url = NULL};
        error_clear(err);
        set_base(r, "http");
        status = ping(r, &t, err);
    }
    if (status == 0 && t.x.status != 200)
        status = t.x.status == 404 ? fail(err, RUNNER_E_INVALID, 0, "'%s' is no registry", r->server)
                                   : refusal(r, &t.x, "sign-in", err);
    try_done(r, &t);
    return status;
}

int registry_open(struct http *http, const struct request *request, const struct object *object, bool is_push,
                  const char *also_pull, struct registry *ret, struct runner_error *err)
{
    bool is_hub = strcmp(object->ref.server, REF_DOCKER_HUB) == 0;
    struct registry r = {.http = http,
                         .request = request,
                         .object = object,
                         .is_mirror = is_hub && request->mirror != NULL && !is_push,
                         .actions = is_push ? "pull,push,delete" : "pull",
                         .also_pull = mem_dup(also_pull)};

    r.server = r.is_mirror ? ref_server(request->mirror) : mem_dup(is_hub ? HUB_SERVER : object->ref.server);
    if (r.server == NULL) {
        registry_done(&r);
        return fail(err, RUNNER_E_INVALID, 0, "mirror: '%.100s' is no server", request->mirror);
    }
    set_base(&r, "https");
    if (r.origin == NULL || look(&r, err) < 0) {
        if (strstr(err->message, r.server) == NULL)
            error_wrap(err, "registry '%s'", r.server);
        registry_done(&r);
        return -1;
    }
    *ret = r;
    return 0;
}

/* ---- an exchange ---- */

void try_done(struct registry *r, struct try *t)
{
    http_reset(r->http, &t->x);
    free(t->url);
    free(t->elsewhere);
    t->url = t->elsewhere = NULL;
}

void registry_prepare(struct registry *r, struct try *t)
{
    auto_free char *origin = NULL;

    http_reset(r->http, &t->x);
    t->x.url = t->elsewhere != NULL ? t->elsewhere : t->url;
    origin = url_origin(t->x.url);
    t->x.authorization = origin != NULL && strcmp(origin, r->origin) == 0 ? r->authorization : NULL;
}

static int again_after(struct try *t, int64_t ms)
{
    t->not_before_ms = num_now_ms() + ms;
    return TRY_AGAIN;
}

/* Half again as long each time, and not all at the same moment. */
static int back_off(struct try *t)
{
    int64_t ms = INT64_C(1) << (t->failures < 6 ? t->failures : 6);

    ms *= BACK_OFF_MS;
    if (ms > BACK_OFF_MAX)
        ms = BACK_OFF_MAX;
    if (t->x.retry_after_ms >= 0)
        ms = t->x.retry_after_ms < RETRY_AFTER_MAX ? t->x.retry_after_ms : RETRY_AFTER_MAX;
    else
        ms -= num_now_us() % (ms / 2);
    t->failures++;
    free(t->elsewhere);
    t->elsewhere = NULL;
    return again_after(t, ms);
}

/* No answer, or one that ended too early. */
static int judge_failure(struct registry *r, struct try *t, struct runner_error *err)
{
    int most = t->x.is_cut || t->x.is_tls_failure ? FAILURES_MAX : REFUSALS_MAX;

    if (t->x.is_refused)
        return fail(err, RUNNER_E_INVALID, 0, "the answer has more than %zu bytes", t->x.body_max);
    if (t->x.is_tls_failure && request_may_be_plain(r->request, r->server) && t->failures == 0)
        most = 0; /* the caller tries without */
    if (t->x.is_transient && t->failures < most)
        return back_off(t);
    (void)fail(err, RUNNER_E_UNREACHABLE, 0, "%s", t->x.failure);
    err->retry = t->x.is_transient;
    return -1;
}

bool registry_may_go(const struct registry *r, const char *url)
{
    auto_free char *origin = url_origin(url);
    const char *server;

    if (origin == NULL)
        return false;
    return text_starts(origin, "https://", NULL) ||
           (text_starts(r->base, "http://", NULL) && text_starts(origin, "http://", &server) &&
            request_may_be_plain(r->request, server));
}

static int follow(struct registry *r, struct try *t, struct runner_error *err)
{
    auto_free char *url = t->x.location != NULL ? url_resolve(t->x.url, t->x.location) : NULL;

    if (url == NULL || !registry_may_go(r, url))
        return fail(err, RUNNER_E_INVALID, 0,
                    "it redirects to '%.*s', which is not followed: it is neither https nor, where plain HTTP is spoken, "
                    "loopback or in `insecure`",
                    t->x.location != NULL ? url_shown(t->x.location) : 7,
                    t->x.location != NULL ? t->x.location : "nowhere");
    if (++t->redirects > REDIRECTS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "it redirects more than %d times", REDIRECTS_MAX);
    free(t->elsewhere);
    t->elsewhere = url;
    url = NULL;
    return again_after(t, 0);
}

static bool is_redirect(const struct exchange *x)
{
    return (x->status == 301 || x->status == 302 || x->status == 303 || x->status == 307 || x->status == 308) &&
           (strcmp(x->method, "GET") == 0 || strcmp(x->method, "HEAD") == 0);
}

int registry_judge(struct registry *r, struct try *t, struct runner_error *err)
{
    int status = t->x.status;

    if (status == 0)
        return judge_failure(r, t, err);
    if (is_redirect(&t->x))
        return follow(r, t, err);
    if (status == 401 && t->elsewhere == NULL && t->denials++ < 2) {
        int got = token_get(r, str_text(&t->x.challenge), t->denials, err);
        return got <= 0 ? got : again_after(t, 0); /* 0: there is nothing else to be said */
    }
    if (status == 429 || status == 500 || status == 502 || status == 503 || status == 504)
        return t->failures < FAILURES_MAX ? back_off(t) : TRY_OVER;
    if (status == 403 && t->elsewhere != NULL && t->failures < FAILURES_MAX)
        return back_off(t); /* a signed address that is no longer good */
    return TRY_OVER;
}

int registry_run(struct registry *r, struct try *t, struct runner_error *err)
{
    for (;;) {
        int verdict;

        registry_prepare(r, t);
        if (http_run(r->http, &t->x, err) < 0)
            return -1;
        verdict = registry_judge(r, t, err);
        if (verdict != TRY_AGAIN)
            return verdict == TRY_OVER ? 0 : -1;
        if (http_sleep(r->http, t->not_before_ms - num_now_ms(), err) < 0)
            return -1;
    }
}

/* ---- manifests ---- */

int registry_manifest(struct registry *r, const char *reference, struct manifest *ret, struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "manifests/%s", reference)};
    struct manifest m = {.n_layers = 0};
    int status;

    t.x.method = "GET";
    t.x.accept = MANIFEST_ACCEPT;
    t.x.body_max = MANIFEST_MAX;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(r, &t, err);
    if (status < 0)
        error_wrap(err, "manifest from '%s'", r->server);
    else if (t.x.status != 200)
        status = refusal(r, &t.x, r->object->text, err);
    else
        status = manifest_parse(str_text(&t.x.body), t.x.body.len, t.x.answer_type, &r->request->limits, &m, err);
    if (status == 0 && ref_is_digest(reference) && strcmp(m.digest, REF_HEX(reference)) != 0) {
        status =
            fail(err, RUNNER_E_INVALID, 0, "manifest: what came for %s has the digest sha256:%s", reference, m.digest);
        manifest_done(&m);
    }
    if (status == 0)
        *ret = m;
    try_done(r, &t);
    return status;
}

int registry_small_blob(struct registry *r, const struct descriptor *d, char **ret, struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "blobs/%s", d->digest)};
    auto_free char *what = mem_printf("blob %s", d->digest);
    char hex[65];
    int status;

    t.x.method = "GET";
    t.x.body_max = (size_t)d->size_bytes;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(r, &t, err);
    if (status < 0)
        error_wrap(err, "%s from '%s'", what, r->server);
    else if (t.x.status != 200)
        status = refusal(r, &t.x, what, err);
    if (status == 0) {
        manifest_hash(str_text(&t.x.body), t.x.body.len, hex);
        if (strcmp(hex, REF_HEX(d->digest)) != 0)
            status = fail(err, RUNNER_E_INVALID, 0, "%s from '%s': what came has the digest sha256:%s", what, r->server, hex);
    }
    if (status == 0)
        *ret = str_steal(&t.x.body);
    try_done(r, &t);
    return status;
}
