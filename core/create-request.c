#include "core/create-request.h"

#include <ctype.h>
#include <string.h>

#include "core/util/text.h"

#define GIB          (INT64_C(1) << 30)
#define MIB          (INT64_C(1) << 20)
#define ENV_MAX      256         /* variables */
#define ENV_SIZE_MAX (64 * 1024) /* bytes, names and values */
#define TEXT_MAX     1024

/* What of a kept request fits into a record that can be read again, beside what operations put there. */
#define KEPT_SIZE_MAX  (RECORD_MAX - RECORD_REST_MAX) /* bytes as printed: \u escapes may be longer than what came */
#define KEPT_NODES_MAX (JSON_NODES_MAX - RECORD_REST_NODES_MAX)
#define KEPT_DEPTH_MAX (JSON_DEPTH_MAX - 1)

struct reader {
    const struct json *body;
    const char *field; /* what is being looked at */
    struct runner_error *err;
};

static int wrong(struct reader *r, const char *field, const char *why)
{
    r->field = field;
    return fail(r->err, RUNNER_E_INVALID, 0, "%s", why);
}

static int wrong_type(struct reader *r, const char *field, const char *wanted, const struct json *found)
{
    r->field = field;
    return fail(r->err, RUNNER_E_INVALID, 0, "expected %s, found %s", wanted, json_type_name(found->type));
}

static const struct json *member(const struct reader *r, const char *field)
{
    const struct json *j = json_get(r->body, field);

    return j != NULL && j->type == JSON_NULL ? NULL : j;
}

static int read_text(struct reader *r, const char *field, bool is_required, const char **ret)
{
    const struct json *j = member(r, field);

    *ret = NULL;
    if (j == NULL)
        return is_required ? wrong(r, field, "is required") : 0;
    if (j->type != JSON_STRING)
        return wrong_type(r, field, "a string", j);
    if (is_required && j->text[0] == '\0')
        return wrong(r, field, "must not be empty");
    if (strlen(j->text) > TEXT_MAX)
        return wrong(r, field, "is longer than 1024 bytes");
    *ret = j->text;
    return 0;
}

static int read_quota(struct reader *r, const char *field, int64_t dflt, int64_t max, int64_t *ret)
{
    const struct json *j = member(r, field);

    if (j == NULL) {
        *ret = dflt;
        return 0;
    }
    if (j->type != JSON_INT)
        return wrong_type(r, field, "an integer", j);
    r->field = field;
    if (j->number < 1)
        return fail(r->err, RUNNER_E_INVALID, 0, "must be at least 1, found %lld", (long long)j->number);
    if (max > 0 && j->number > max)
        return fail(r->err, RUNNER_E_INVALID, 0, "must be at most %lld, found %lld", (long long)max,
                    (long long)j->number);
    *ret = j->number;
    return 0;
}

static bool is_variable_name(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && *name != '_')
            return false;
    return true;
}

static int check_env(struct reader *r)
{
    const struct json *env = member(r, "env");
    size_t n = 0, size = 0;

    if (env == NULL)
        return 0;
    if (env->type != JSON_OBJECT)
        return wrong_type(r, "env", "an object", env);
    for (const struct json *j = env->first; j != NULL; j = j->next) {
        r->field = "env";
        if (!is_variable_name(j->key))
            return fail(r->err, RUNNER_E_INVALID, 0, "'%.60s' is not the name of a variable", j->key);
        if (j->type != JSON_STRING)
            return fail(r->err, RUNNER_E_INVALID, 0, "'%.60s': expected a string, found %s", j->key,
                        json_type_name(j->type));
        size += strlen(j->key) + strlen(j->text) + 2;
        if (++n > ENV_MAX || size > ENV_SIZE_MAX)
            return wrong(r, "env", "more than 256 variables or 64 KiB");
    }
    return 0;
}

static int check_list(struct reader *r, const char *field)
{
    const struct json *list = member(r, field);

    if (list == NULL)
        return 0;
    if (list->type != JSON_ARRAY)
        return wrong_type(r, field, "an array of strings", list);
    for (const struct json *j = list->first; j != NULL; j = j->next)
        if (j->type != JSON_STRING)
            return wrong_type(r, field, "an array of strings", j);
    return 0;
}

static int unsupported(struct reader *r, const char *field, const char *what)
{
    r->field = field;
    return fail(r->err, RUNNER_E_NOTSUP, 0, "%s: %s", field, what);
}

static bool is_given(const struct json *j)
{
    return j != NULL &&
           ((j->type == JSON_STRING && j->text[0] != '\0') || (j->type == JSON_ARRAY && j->first != NULL) ||
            (j->type == JSON_INT && j->number != 0) || (j->type == JSON_BOOL && j->number != 0));
}

/* What is asked for but not built is refused, never dropped (D13). */
static int check_unsupported(struct reader *r)
{
    static const struct {
        const char *field, *what;
    } later[] = {{"gpuQuota", "GPUs are not supported yet"},
                 {"volumes", "volumes are not supported yet"},
                 {"linkedSandboxId", "linked sandboxes are not supported yet"}};
    const char *class = json_text(r->body, "sandboxClass", "linux-vm");

    for (size_t i = 0; i < ARRAY_LEN(later); i++)
        if (is_given(member(r, later[i].field)))
            return unsupported(r, later[i].field, later[i].what);
    return class[0] != '\0' && strcmp(class, "linux-vm") != 0
               ? unsupported(r, "sandboxClass", "this runner makes sandboxes of class linux-vm only")
               : 0;
}

int64_t create_request_memory(const struct config_host *host, int64_t gib)
{
    int64_t step = host->memory_step_mb * MIB, bytes = gib > 0 ? gib * GIB : host->memory_mb * MIB;

    if (bytes < host->min_memory_mb * MIB)
        bytes = host->min_memory_mb * MIB;
    return (bytes + step - 1) / step * step;
}

static int read_resources(struct reader *r, const struct config *config, const struct config_host *host,
                          struct record *record)
{
    int64_t cpus, memory_gib, disk_gib;

    if (read_quota(r, "cpuQuota", host->cpus, config->limits.cpus, &cpus) < 0 ||
        read_quota(r, "memoryQuota", 0, config->limits.memory_mb / 1024, &memory_gib) < 0 ||
        read_quota(r, "storageQuota", host->disk_gb, config->limits.disk_gb, &disk_gib) < 0)
        return -1;
    if (memory_gib > INT64_MAX / GIB || disk_gib > INT64_MAX / GIB || cpus > 1024)
        return wrong(r,
                     memory_gib > INT64_MAX / GIB ? "memoryQuota"
                     : disk_gib > INT64_MAX / GIB ? "storageQuota"
                                                  : "cpuQuota",
                     "is beyond any machine");
    record->cpus = (uint32_t)cpus;
    record->memory_bytes = create_request_memory(host, memory_gib);
    record->disk_bytes = disk_gib * GIB;
    return 0;
}

static int read_policy(struct reader *r, struct policy *ret)
{
    struct policy_change change;

    if (policy_change_read(r->body, &change, &r->field, r->err) < 0)
        return -1;
    policy_change_apply(&change, ret);
    policy_change_done(&change);
    r->field = "metadata";
    if (policy_change_read_metadata(member(r, "metadata"), &change, r->err) < 0)
        return -1;
    policy_change_apply(&change, ret);
    policy_change_done(&change);
    return 0;
}

/* The request is kept for starts, which bring almost nothing (contract 2.7); secrets of the moment are not. */
static struct json *keep_request(const struct json *body)
{
    struct json *kept = json_copy(body);

    json_free(json_take(kept, "authToken"));
    json_free(json_take(kept, "registry"));
    return kept;
}

static size_t count_values(const struct json *j, int depth, int *ret_deepest)
{
    size_t n = 1;

    if (j->type != JSON_OBJECT && j->type != JSON_ARRAY)
        return 1;
    if (depth > *ret_deepest)
        *ret_deepest = depth;
    for (const struct json *child = j->first; child != NULL; child = child->next)
        n += count_values(child, depth + 1, ret_deepest);
    return n;
}

/* A record that the next start cannot read would be a sandbox lost. */
static int check_kept(struct reader *r, const struct json *request)
{
    auto_str struct str text = STR_INIT;
    int depth = 0;

    if (count_values(request, 1, &depth) > KEPT_NODES_MAX || depth > KEPT_DEPTH_MAX)
        return wrong(r, "request", "has too many values, or is nested too deep, to be recorded");
    json_add_tree(&text, NULL, request);
    return text.len > KEPT_SIZE_MAX ? wrong(r, "request", "is too large to be recorded") : 0;
}

static int read_all(struct reader *r, const struct config *config, const struct config_host *host, struct record **ret)
{
    auto_record struct record *record = NULL;
    const char *id, *snapshot, *text;

    if (read_text(r, "id", true, &id) < 0)
        return -1;
    if (!text_is_id(id))
        return wrong(r, "id", "must match [a-z0-9][a-z0-9-]{0,62}");
    if (read_text(r, "userId", true, &text) < 0 || read_text(r, "osUser", true, &text) < 0 ||
        read_text(r, "snapshot", host->snapshot == NULL, &snapshot) < 0 || read_text(r, "name", false, &text) < 0)
        return -1;
    if (snapshot == NULL || snapshot[0] == '\0')
        snapshot = host->snapshot;
    if (!text_is_ref(snapshot))
        return wrong(r, "snapshot", "is not a snapshot reference");
    record = record_new(id);
    record->snapshot = mem_dup(snapshot);
    if (read_resources(r, config, host, record) < 0 || check_env(r) < 0 || check_list(r, "entrypoint") < 0 ||
        check_list(r, "sshKeys") < 0 || check_unsupported(r) < 0)
        return -1;
    if (read_policy(r, &record->policy) < 0)
        return -1;
    record->request = keep_request(r->body);
    if (check_kept(r, record->request) < 0)
        return -1;
    *ret = record;
    record = NULL;
    return 0;
}

int create_request_plan(const struct config *config, const struct config_host *host, const struct json *body,
                        struct record **ret, const char **ret_field, struct runner_error *err)
{
    struct reader r = {.body = body, .err = err};

    if (read_all(&r, config, host, ret) == 0)
        return 0;
    *ret_field = r.field;
    return -1;
}
