#include <limits.h>
#include <string.h>

#include "plugins/storage/oci/convert.h"

#include "core/util/json.h"
#include "core/util/text.h"

#define ENV_MAX   1024
#define ARGS_MAX  1024
#define DIFFS_MAX 4096

/* A text or NULL; where in the configuration it is says what. */
static int read_text(const struct json *object, const char *key, const char **ret, struct runner_error *err)
{
    const struct json *j = json_get(object, key);

    *ret = NULL;
    if (j == NULL || j->type == JSON_NULL)
        return 0;
    if (j->type != JSON_STRING)
        return fail(err, RUNNER_E_INVALID, 0, "%s is %s, not a string", key, json_type_name(j->type));
    *ret = j->text;
    return 0;
}

/* An array of strings, *ret its first; absent or null: NULL. */
static int read_array(const struct json *object, const char *key, unsigned max, const struct json **ret,
                      struct runner_error *err)
{
    const struct json *j = json_get(object, key);
    unsigned n = 0;

    *ret = NULL;
    if (j == NULL || j->type == JSON_NULL)
        return 0;
    if (j->type != JSON_ARRAY)
        return fail(err, RUNNER_E_INVALID, 0, "%s is %s, not an array", key, json_type_name(j->type));
    for (const struct json *at = j->first; at != NULL; at = at->next)
        if (at->type != JSON_STRING)
            return fail(err, RUNNER_E_INVALID, 0, "%s has %s in it, not strings alone", key, json_type_name(at->type));
        else if (++n > max)
            return fail(err, RUNNER_E_INVALID, 0, "%s has more than %u strings", key, max);
    *ret = j->first;
    return 0;
}

static int add_text(struct str *to, const char *key, const struct json *object, const char *object_key,
                    struct runner_error *err)
{
    const char *text;

    if (read_text(object, object_key, &text, err) < 0)
        return -1;
    if (text != NULL && text[0] != '\0')
        json_add_text(to, key, text);
    return 0;
}

static int add_array(struct str *to, const char *key, const struct json *object, const char *object_key,
                     struct runner_error *err)
{
    const struct json *first;

    if (read_array(object, object_key, ARGS_MAX, &first, err) < 0)
        return -1;
    if (first == NULL)
        return 0;
    json_open(to, key, '[');
    for (; first != NULL; first = first->next)
        json_add_text(to, NULL, first->text);
    json_close(to, ']');
    return 0;
}

static size_t name_len(const struct json *variable)
{
    return strcspn(variable->text, "=");
}

/* The last one of a name counts; what has no name or no value is none. */
static bool is_hidden(const struct json *variable)
{
    size_t len = name_len(variable);

    if (len == 0 || variable->text[len] != '=')
        return true;
    for (const struct json *later = variable->next; later != NULL; later = later->next)
        if (name_len(later) == len && later->text[len] == '=' && memcmp(later->text, variable->text, len) == 0)
            return true;
    return false;
}

static int add_env(struct str *to, const struct json *object, struct runner_error *err)
{
    const struct json *first;

    if (read_array(object, "Env", ENV_MAX, &first, err) < 0)
        return -1;
    if (first == NULL)
        return 0;
    json_open(to, "env", '{');
    for (; first != NULL; first = first->next) {
        auto_free char *name = NULL;

        if (is_hidden(first))
            continue;
        name = mem_dup_n(first->text, name_len(first));
        json_add_text(to, name, first->text + name_len(first) + 1);
    }
    json_close(to, '}');
    return 0;
}

/* An object whose keys are paths. */
static int read_volumes(const struct json *config, struct image_config *ret, struct runner_error *err)
{
    const struct json *j = json_get(config, "Volumes");

    if (j == NULL || j->type == JSON_NULL)
        return 0;
    if (j->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "Volumes is %s, not an object", json_type_name(j->type));
    for (const struct json *at = j->first; at != NULL; at = at->next) {
        if (ret->n_volumes == VOLUMES_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "Volumes has more than %d paths", VOLUMES_MAX);
        if (at->key[0] == '\0' || strlen(at->key) >= PATH_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "Volumes has a path of %zu bytes", strlen(at->key));
        ret->volumes = mem_grow(ret->volumes, ret->n_volumes + 1, sizeof *ret->volumes);
        ret->volumes[ret->n_volumes++] = mem_dup(at->key);
    }
    return 0;
}

static bool is_digest(const char *text, const char **ret_hex)
{
    return text_starts(text, "sha256:", ret_hex) && strspn(*ret_hex, "0123456789abcdef") == 64 &&
           (*ret_hex)[64] == '\0';
}

static int read_diff_ids(const struct json *tree, struct image_config *ret, struct runner_error *err)
{
    const struct json *rootfs = json_get(tree, "rootfs"), *first;
    const char *hex;

    if (rootfs == NULL || rootfs->type == JSON_NULL)
        return 0;
    if (rootfs->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "rootfs is %s, not an object", json_type_name(rootfs->type));
    if (read_array(rootfs, "diff_ids", DIFFS_MAX, &first, err) < 0)
        return -1;
    ret->has_diff_ids = true;
    for (; first != NULL; first = first->next) {
        if (!is_digest(first->text, &hex))
            return fail(err, RUNNER_E_INVALID, 0, "rootfs.diff_ids[%zu] is no \"sha256:\" and 64 digits",
                        ret->n_diff_ids);
        ret->diff_ids = mem_grow(ret->diff_ids, ret->n_diff_ids + 1, sizeof *ret->diff_ids);
        memcpy(ret->diff_ids[ret->n_diff_ids++], hex, 65);
    }
    return 0;
}

static int read_tree(const struct json *tree, struct image_config *ret, struct runner_error *err)
{
    const struct json *config = json_get(tree, "config");
    const char *architecture, *os, *variant;

    if (tree->type != JSON_OBJECT || (config != NULL && config->type != JSON_OBJECT && config->type != JSON_NULL))
        return fail(err, RUNNER_E_INVALID, 0, "it is no object, or its config is none");
    if (read_text(tree, "architecture", &architecture, err) < 0 || read_text(tree, "os", &os, err) < 0 ||
        read_text(tree, "variant", &variant, err) < 0)
        return -1;
    json_open(&ret->members, NULL, '{');
    if (add_env(&ret->members, config, err) < 0 || add_text(&ret->members, "user", config, "User", err) < 0 ||
        add_text(&ret->members, "workdir", config, "WorkingDir", err) < 0 ||
        add_array(&ret->members, "entrypoint", config, "Entrypoint", err) < 0 ||
        add_array(&ret->members, "cmd", config, "Cmd", err) < 0 || read_volumes(config, ret, err) < 0 ||
        read_diff_ids(tree, ret, err) < 0)
        return -1;
    ret->architecture = mem_dup(architecture);
    ret->os = mem_dup(os);
    ret->variant = mem_dup(variant);
    return 0;
}

int image_config_read(const char *text, size_t len, struct image_config *ret, struct runner_error *err)
{
    struct image_config config = {.members = STR_INIT};
    auto_json struct json *tree = NULL;

    if (len > CONVERT_CONFIG_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "the image's configuration has more than %d bytes", CONVERT_CONFIG_MAX);
    if (json_parse(text, len, &tree, err) < 0 || read_tree(tree, &config, err) < 0) {
        image_config_done(&config);
        return error_wrap(err, "the image's configuration");
    }
    *ret = config;
    return 0;
}

void image_config_done(struct image_config *config)
{
    free(config->architecture);
    free(config->os);
    free(config->variant);
    for (size_t i = 0; i < config->n_volumes; i++)
        free(config->volumes[i]);
    free(config->volumes);
    free(config->diff_ids);
    str_done(&config->members);
    memset(config, 0, sizeof(*config));
}
