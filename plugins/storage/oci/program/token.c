#include "plugins/storage/oci/program/token.h"

#include <openssl/evp.h>
#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/storage/oci/program/challenge.h"
#include "plugins/storage/oci/program/refusal.h"
#include "plugins/storage/oci/program/url.h"

#define ANSWER_MAX (256 << 10)
#define TOKEN_MAX  (32 << 10)
#define TOKEN_MS   20000

static void set_authorization(struct registry *r, const char *scheme, const char *value)
{
    if (r->authorization != NULL)
        explicit_bzero(r->authorization, strlen(r->authorization));
    free(r->authorization);
    r->authorization = mem_printf("%s %s", scheme, value);
}

/* The caller wipes and frees. */
static char *basic_of(const struct registry *r)
{
    auto_free char *pair = mem_printf("%s:%s", r->object->username, r->object->password);
    size_t len = strlen(pair);
    char *text = mem_alloc((len + 2) / 3 * 4 + 1);

    (void)EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)pair, (int)len);
    explicit_bzero(pair, len);
    return text;
}

static bool has_credentials(const struct registry *r)
{
    return r->object->username != NULL && !r->is_mirror;
}

/* https, or where nothing else is asked for of the registry itself. */
static int check_realm(const struct registry *r, const char *realm, struct runner_error *err)
{
    auto_free char *origin = url_origin(realm);
    const char *server;

    if (origin != NULL && (text_starts(origin, "https://", NULL) ||
                           (text_starts(r->base, "http://", NULL) && text_starts(origin, "http://", &server) &&
                            request_may_be_plain(r->request, server))))
        return 0;
    return fail(err, RUNNER_E_INVALID, 0,
                "it wants a token of '%.*s', which is not asked: it is neither https nor, where plain HTTP is spoken, "
                "loopback or in `insecure`",
                url_shown(realm), realm);
}

/* What is asked for: the scope that the registry names, and what is known to be needed. */
static void add_scopes(const struct registry *r, const struct challenge *c, struct str *url)
{
    auto_free char *own = mem_printf("repository:%s:%s", r->object->ref.path, r->actions);

    if (c->service != NULL)
        url_add_query(url, "service", c->service);
    url_add_query(url, "scope", own);
    if (c->scope != NULL && strncmp(c->scope, own, strcspn(own, ":") + 1 + strlen(r->object->ref.path)) != 0)
        url_add_query(url, "scope", c->scope);
    if (r->also_pull != NULL) {
        auto_free char *more = mem_printf("repository:%s:pull", r->also_pull);
        url_add_query(url, "scope", more);
    }
    if (has_credentials(r))
        url_add_query(url, "account", r->object->username);
}

static void wipe(const char *secret)
{
    explicit_bzero((char *)(uintptr_t)secret, strlen(secret));
}

/* So that it ends no header: printable, without blanks. */
static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return len > 0 && len <= TOKEN_MAX;
}

int token_parse(const char *text, size_t len, char **ret, struct runner_error *err)
{
    static const char *const names[] = {"token", "access_token"};
    auto_json struct json *tree = NULL;

    if (json_parse(text, len, &tree, NULL) < 0) /* an error could show what stands there */
        return fail(err, RUNNER_E_INVALID, 0, "token: the server of tokens gave no JSON");
    for (size_t i = 0; i < ARRAY_LEN(names) && *ret == NULL; i++) {
        const char *token = json_text(tree, names[i], "");

        if (is_token(token, strlen(token)))
            *ret = mem_dup(token);
        wipe(token);
    }
    return *ret != NULL ? 0 : fail(err, RUNNER_E_INVALID, 0, "token: the server of tokens gave none");
}

static int take_token(struct registry *r, const struct exchange *x, struct runner_error *err)
{
    char *token = NULL;

    if (token_parse(str_text(&x->body), x->body.len, &token, err) < 0)
        return -1;
    set_authorization(r, "Bearer", token);
    wipe(token);
    free(token);
    explicit_bzero(x->body.ptr, x->body.len);
    return 1;
}

static int ask(struct registry *r, struct try *t, const char *realm, struct runner_error *err)
{
    /* A registry of its own, so that who asks is not asked again. */
    struct registry at = {.http = r->http, .request = r->request, .object = r->object};
    int status;

    at.server = url_origin(realm);
    at.base = at.origin = at.server;
    at.authorization = r->authorization;
    t->denials = 2;
    status = registry_run(&at, t, err);
    if (status == 0 && t->x.status != 200)
        status = refusal(&at, &t->x, "token", err);
    free(at.server);
    return status;
}

static int get_bearer(struct registry *r, const struct challenge *c, struct runner_error *err)
{
    auto_str struct str url = STR_INIT;
    struct try t = {.url = NULL};
    char *old = r->authorization;
    int status;

    if (check_realm(r, c->realm, err) < 0)
        return -1;
    str_add(&url, c->realm);
    add_scopes(r, c, &url);
    r->authorization = NULL;
    if (has_credentials(r)) {
        char *basic = basic_of(r);
        set_authorization(r, "Basic", basic);
        explicit_bzero(basic, strlen(basic));
        free(basic);
    }
    t.url = mem_dup(str_text(&url));
    t.x.method = "GET";
    t.x.body_max = ANSWER_MAX;
    t.x.limit_ms = TOKEN_MS;
    status = ask(r, &t, c->realm, err);
    if (status == 0)
        status = take_token(r, &t.x, err);
    try_done(r, &t);
    if (old != NULL)
        explicit_bzero(old, strlen(old));
    free(old);
    return status;
}

int token_get(struct registry *r, const char *text, int round, struct runner_error *err)
{
    struct challenge c;
    int status = 0;

    challenge_parse(text, &c);
    if (c.is_bearer) {
        status = get_bearer(r, &c, err);
    } else if (c.is_basic && has_credentials(r) && round == 1) {
        char *basic = basic_of(r);
        set_authorization(r, "Basic", basic);
        explicit_bzero(basic, strlen(basic));
        free(basic);
        status = 1;
    }
    challenge_done(&c);
    return status;
}
