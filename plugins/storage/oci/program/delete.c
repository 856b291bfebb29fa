#include "plugins/storage/oci/program/delete.h"

#include <string.h>

#include "plugins/storage/oci/program/refusal.h"

#define TAGS_MAX     200 /* of one path, that are looked at */
#define ANSWER_BYTES (1 << 20)
#define SMALL_MS     20000

/* The status of one small request, or -1; *ret_digest, *ret_body: may be NULL; the caller frees. */
static int ask(struct registry *r, const char *method, const char *rest, char **ret_digest, char **ret_body,
               struct runner_error *err)
{
    struct try t = {.url = registry_url(r, "%s", rest)};
    int status;

    t.x.method = method;
    t.x.accept = MANIFEST_ACCEPT;
    t.x.body_max = ANSWER_BYTES;
    t.x.limit_ms = SMALL_MS;
    status = registry_run(r, &t, err) < 0 ? -1 : t.x.status;
    if (status >= 0 && ret_digest != NULL && t.x.digest != NULL && ref_is_digest(t.x.digest))
        *ret_digest = mem_dup(t.x.digest);
    if (status == 200 && ret_body != NULL)
        *ret_body = str_steal(&t.x.body);
    if (status >= 400 && status != 404 && status != 405 && status != 400)
        status = refusal(r, &t.x, r->object->text, err);
    try_done(r, &t);
    return status;
}

static int manifest_status(struct registry *r, const char *method, const char *reference, char **ret_digest,
                           struct runner_error *err)
{
    auto_free char *rest = mem_printf("manifests/%s", reference);

    return ask(r, method, rest, ret_digest, NULL, err);
}

static int check_tag(struct registry *r, const char *tag, const char *digest, struct runner_error *err)
{
    auto_free char *other = NULL;

    if (r->object->ref.tag != NULL && strcmp(tag, r->object->ref.tag) == 0)
        return 0;
    if (manifest_status(r, "HEAD", tag, &other, err) < 0)
        return -1;
    if (other == NULL || strcmp(other, digest) != 0)
        return 0;
    return fail(err, RUNNER_E_NOTSUP, 0, "'%s' removes images only, and the tag '%.128s' is for the same one",
                r->server, tag);
}

/* Whether no other tag stands for it. */
static int check_alone(struct registry *r, const char *digest, struct runner_error *err)
{
    auto_free char *body = NULL;
    auto_json struct json *tree = NULL;
    const struct json *tags;
    int n = 0, status = ask(r, "GET", "tags/list", NULL, &body, err);

    if (status != 200 || body == NULL || json_parse(body, strlen(body), &tree, err) < 0)
        return status < 0 || status == 200 ? -1 : 0;
    tags = json_get(tree, "tags");
    for (const struct json *j = tags != NULL ? tags->first : NULL; j != NULL; j = j->next) {
        if (++n > TAGS_MAX)
            return fail(err, RUNNER_E_NOTSUP, 0, "more than %d tags: which are for the same image is not known",
                        TAGS_MAX);
        if (j->type == JSON_STRING && strlen(j->text) <= 128 && strpbrk(j->text, "/?#% ") == NULL &&
            check_tag(r, j->text, digest, err) < 0)
            return -1;
    }
    return 0;
}

static int no_removal(const struct registry *r, struct runner_error *err)
{
    return fail(err, RUNNER_E_NOTSUP, 0, "'%s' removes nothing: deletion is not enabled there", r->server);
}

int delete_name(struct registry *r, struct runner_error *err)
{
    const char *reference = ref_reference(&r->object->ref);
    auto_free char *digest = NULL;
    int status = manifest_status(r, "HEAD", reference, &digest, err);

    if (status < 0 || status == 404)
        return status < 0 ? -1 : 0;
    if (digest == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "'%s' does not say the digest of '%s'", r->server, r->object->text);
    status = manifest_status(r, "DELETE", reference, NULL, err);
    if (status < 0)
        return -1;
    if (status < 300 || status == 404)
        return 0;
    if (r->object->ref.digest != NULL)
        return no_removal(r, err);
    if (check_alone(r, digest, err) < 0) /* it takes digests only */
        return -1;
    status = manifest_status(r, "DELETE", digest, NULL, err);
    if (status < 0)
        return -1;
    return status < 300 || status == 404 ? 0 : no_removal(r, err);
}
