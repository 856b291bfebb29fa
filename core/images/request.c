#include "core/images/request.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/text.h"

#define GIB      ((double)(INT64_C(1) << 30))
#define TEXT_MAX 1024
#define PASSWORD_MAX (16 * 1024) /* tokens are passwords too */

static int read_text(const struct json *body, const char *where, const char *member, size_t max, const char **ret,
                     struct runner_error *err)
{
    const struct json *value = json_get(body, member);

    *ret = NULL;
    if (value == NULL || value->type == JSON_NULL)
        return 0;
    if (value->type != JSON_STRING)
        return fail(err, RUNNER_E_INVALID, 0, "%s%s: expected a string, found %s", where, member,
                    json_type_name(value->type));
    if (strlen(value->text) > max)
        return fail(err, RUNNER_E_INVALID, 0, "%s%s: is longer than %zu bytes", where, member, max);
    *ret = value->text[0] != '\0' ? value->text : NULL;
    return 0;
}

static int read_ref(const struct json *body, const char *member, const char **ret, struct runner_error *err)
{
    if (read_text(body, "", member, TEXT_MAX, ret, err) < 0)
        return -1;
    return *ret == NULL || text_is_ref(*ret)
               ? 0
               : fail(err, RUNNER_E_INVALID, 0, "%s: '%.100s' is not a snapshot reference", member, *ret);
}

/* "host:port" of "https://host:port/". */
static char *server_of(const char *url)
{
    const char *rest;

    if (text_starts(url, "https://", &rest) || text_starts(url, "http://", &rest))
        url = rest;
    return mem_dup_n(url, strcspn(url, "/"));
}

/* RegistryDTO. Credentials count when there are both (contract 1.4). */
static int read_registry(const struct json *body, const char *member, struct image_object *ret, const char **ret_project,
                         struct runner_error *err)
{
    const struct json *registry = json_get(body, member);
    auto_free char *where = mem_printf("%s.", member);
    const char *url, *username, *password;

    *ret_project = NULL;
    if (registry == NULL || registry->type == JSON_NULL)
        return 0;
    if (registry->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "%s: expected an object, found %s", member,
                    json_type_name(registry->type));
    if (read_text(registry, where, "url", TEXT_MAX, &url, err) < 0 ||
        read_text(registry, where, "project", TEXT_MAX, ret_project, err) < 0 ||
        read_text(registry, where, "username", TEXT_MAX, &username, err) < 0 ||
        read_text(registry, where, "password", PASSWORD_MAX, &password, err) < 0)
        return -1;
    ret->server = url != NULL ? server_of(url) : NULL;
    if (username != NULL && password != NULL) {
        ret->username = mem_dup(username);
        ret->password = mem_dup(password);
    }
    return 0;
}

int image_source_read(const struct json *body, const char *ref, struct image_object *ret, struct runner_error *err)
{
    const char *project;

    *ret = (struct image_object){.ref = NULL};
    if (read_registry(body, "registry", ret, &project, err) < 0) {
        image_object_wipe(ret);
        return -1;
    }
    ret->ref = mem_dup(ref);
    return 0;
}

int image_object_read(const struct json *body, struct image_object *ret, struct runner_error *err)
{
    const char *ref;

    if (read_ref(body, "snapshot", &ref, err) < 0)
        return -1;
    if (ref == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "snapshot: is required");
    return image_source_read(body, ref, ret, err);
}

/* Where the copy goes: a ref, or one that ends with "-" when the digest of the image is to complete it. */
static int read_destination(const struct json *body, struct pull_request *ret, struct runner_error *err)
{
    const struct json *registry = json_get(body, "destinationRegistry");
    const char *ref, *project;
    auto_free char *own = NULL;

    if (read_ref(body, "destinationRef", &ref, err) < 0 ||
        read_registry(body, "destinationRegistry", &ret->also, &project, err) < 0)
        return -1;
    if (registry == NULL || registry->type == JSON_NULL)
        return 0;
    if (json_get(registry, "project") == NULL || json_get(registry, "project")->type == JSON_NULL)
        return fail(err, RUNNER_E_INVALID, 0, "destinationRegistry.project: is required");
    if (ref == NULL && ret->also.server == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "destinationRegistry.url: is required");
    if (ref == NULL)
        own = mem_printf("%s/%s/daytona-", ret->also.server, project != NULL ? project : "daytona");
    if (own != NULL && !text_is_ref(own))
        return fail(err, RUNNER_E_INVALID, 0, "destinationRegistry: '%.100s...' is not a snapshot reference", own);
    ret->also.ref = mem_dup(ref != NULL ? ref : own);
    return 0;
}

void pull_request_done(struct pull_request *request)
{
    image_object_wipe(&request->from);
    image_object_wipe(&request->also);
    free(request->tag);
    request->tag = NULL;
}

int pull_request_read(const struct json *body, struct pull_request *ret, struct runner_error *err)
{
    const char *tag;

    *ret = (struct pull_request){.tag = NULL};
    if (image_object_read(body, &ret->from, err) < 0 || read_destination(body, ret, err) < 0 ||
        read_ref(body, "newTag", &tag, err) < 0) {
        pull_request_done(ret);
        return -1;
    }
    ret->tag = mem_dup(tag);
    return 0;
}

void pull_request_wish(const struct pull_request *request, struct image_wish *ret)
{
    *ret = (struct image_wish){.ref = request->from.ref,
                               .other_ref = request->tag,
                               .from = &request->from,
                               .also = request->also.ref != NULL ? &request->also : NULL};
}

/* ---- what is told ---- */

void image_add_info(const struct runner_object_info *info, struct str *out)
{
    json_open(out, NULL, '{');
    json_add_text(out, "hash", info->digest);
    json_add_real(out, "sizeGB", (double)info->size_bytes / GIB);
    json_close(out, '}');
}

void image_add_progress(const struct image_progress *progress, struct str *out)
{
    json_add_text(out, "phase", progress->phase);
    json_add_int(out, "doneBytes", (int64_t)progress->done_bytes);
    json_add_int(out, "totalBytes", (int64_t)progress->total_bytes);
    json_add_int(out, "seconds", progress->seconds);
}

static void add_list(const struct snapshot *snapshot, const char *member, struct str *out)
{
    const struct json *list = json_get(snapshot->config, member);

    if (list != NULL && list->type == JSON_ARRAY && list->first != NULL)
        json_add_tree(out, member, list);
}

void image_add_snapshot(const struct snapshot *snapshot, struct str *out)
{
    int64_t bytes = snapshot->content_bytes > 0 ? snapshot->content_bytes : snapshot->image.size_bytes;

    json_open(out, NULL, '{');
    json_add_text(out, "name", snapshot->ref);
    json_add_real(out, "sizeGB", (double)bytes / GIB);
    add_list(snapshot, "entrypoint", out);
    add_list(snapshot, "cmd", out);
    if (snapshot->digest != NULL)
        json_add_text(out, "hash", snapshot->digest);
    json_close(out, '}');
}
