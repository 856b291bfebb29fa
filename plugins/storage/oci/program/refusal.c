#include "plugins/storage/oci/program/refusal.h"

#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"

#define SECRET_MIN 3 /* bytes: shorter ones are in any text */

static bool has_secret(const char *text, const char *const *secrets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (secrets[i] != NULL && strlen(secrets[i]) >= SECRET_MIN && strstr(text, secrets[i]) != NULL)
            return true;
    return false;
}

/* {"errors": [{"code", "message"}]} as the specification has it, {"message"} or {"error"} as others do. */
static void add_json(const struct json *tree, struct str *out)
{
    const struct json *errors = json_get(tree, "errors");
    const struct json *first = errors != NULL && errors->type == JSON_ARRAY ? errors->first : NULL;
    const char *code = json_text(first, "code", ""), *message = json_text(first, "message", "");

    if (first == NULL)
        message = json_text(tree, "message", json_text(tree, "error", ""));
    str_addf(out, "%s%s%s", code, code[0] != '\0' && message[0] != '\0' ? ": " : "", message);
}

/* Its first line, unless that is a page for a browser. */
static void add_plain(const char *body, size_t len, struct str *out)
{
    while (len > 0 && strchr(" \t\r\n", *body) != NULL)
        body++, len--;
    if (len > 0 && *body != '<')
        str_add_mem(out, body, strnlen(body, len));
    if (out->len > 0)
        out->ptr[strcspn(out->ptr, "\r\n")] = '\0';
}

void refusal_add_text(const char *body, size_t len, const char *const *secrets, size_t n_secrets, struct str *out)
{
    auto_json struct json *tree = NULL;
    auto_str struct str text = STR_INIT, shown = STR_INIT;
    size_t most;

    if (len > 0 && json_parse(body, len, &tree, NULL) == 0)
        add_json(tree, &text);
    else
        add_plain(body, len, &text);
    if (has_secret(str_text(&text), secrets, n_secrets))
        return;
    most = strnlen(str_text(&text), REFUSAL_TEXT_MAX);
    text_add_escaped(&shown, str_text(&text), most);
    str_add_mem(out, str_text(&shown), shown.len < REFUSAL_TEXT_MAX ? shown.len : REFUSAL_TEXT_MAX);
}

int refusal(const struct registry *r, const struct exchange *x, const char *what, struct runner_error *err)
{
    const char *token = r->authorization != NULL ? strchr(r->authorization, ' ') : NULL;
    const char *const secrets[] = {r->object->password, token != NULL ? token + 1 : NULL};
    auto_str struct str said = STR_INIT;
    auto_free char *more = NULL;

    refusal_add_text(str_text(&x->body), x->body.len, secrets, ARRAY_LEN(secrets), &said);
    more = mem_printf("%s%s", said.len > 0 ? " " : "", str_text(&said));
    if (x->status == 404)
        return fail(err, RUNNER_E_NOTFOUND, 0, "%.200s: not found in '%s' (404%s)", what, r->server, more);
    if (x->status == 401 || x->status == 403)
        return fail(err, RUNNER_E_DENIED, 0, "%.200s: '%s' answers unauthorized: %s (%d%s)", what, r->server,
                    r->object->username == NULL ? "credentials are needed"
                    : x->status == 401          ? "other credentials are needed"
                                                : "these credentials may not do that",
                    x->status, more);
    (void)fail(err, x->status >= 500 || x->status == 429 ? RUNNER_E_UNREACHABLE : RUNNER_E_IO, 0,
               "%.200s: received unexpected HTTP status: %d from '%s'%s%s%s", what, x->status, r->server,
               said.len > 0 ? " (" : "", str_text(&said), said.len > 0 ? ")" : "");
    err->retry = err->code == RUNNER_E_UNREACHABLE;
    return -1;
}
