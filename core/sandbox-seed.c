#include "core/sandbox-seed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/guest.h"
#include "core/identity.h"
#include "core/nic.h"
#include "core/seed.h"
#include "core/util/text.h"

static size_t length(const struct json *list)
{
    size_t n = 0;

    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        n++;
    return n;
}

/* A member of the request, or of what the image wants, that holds strings, or NULL when it has none. The create was
 * checked, but the record has lain on a disk since; an image is as its maker likes. */
static int member_of(const struct json *request, const char *key, enum json_type type, const struct json **ret,
                     struct runner_error *err)
{
    const struct json *list = json_get(request, key);

    *ret = NULL;
    if (list == NULL || list->type == JSON_NULL)
        return 0;
    if (list->type != type)
        return fail(err, RUNNER_E_INVALID, 0, "record: %s: expected an %s, found %s", key,
                    type == JSON_ARRAY ? "array" : "object", json_type_name(list->type));
    for (const struct json *j = list->first; j != NULL; j = j->next)
        if (j->type != JSON_STRING)
            return fail(err, RUNNER_E_INVALID, 0, "record: %s: expected strings, found %s", key,
                        json_type_name(j->type));
    *ret = list;
    return 0;
}

/* *ret_list is the caller's, its texts are the request's. */
static int texts(const struct json *request, const char *key, const char ***ret_list, size_t *ret_n,
                 struct runner_error *err)
{
    const struct json *list;

    if (member_of(request, key, JSON_ARRAY, &list, err) < 0)
        return -1;
    *ret_list = mem_array(length(list), sizeof(char *));
    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        (*ret_list)[(*ret_n)++] = j->text;
    return 0;
}

/* What the daemon is told of its own sandbox beside the seed's variables (contract 6.2). */
static const struct {
    const char *member, *variable;
} own[] = {{"otelEndpoint", "DAYTONA_OTEL_ENDPOINT"},
           {"organizationId", "DAYTONA_ORGANIZATION_ID"},
           {"regionId", "DAYTONA_REGION_ID"}};

static bool has_member(const struct json *object, const char *key)
{
    return json_get(object, key) != NULL;
}

/* What the request says of the sandbox, as a variable; NULL: nothing. */
static const char *own_text(const struct record *record, const char *variable)
{
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strcmp(own[i].variable, variable) == 0) {
            const char *text = json_text(record->request, own[i].member, "");
            return text[0] != '\0' ? text : NULL;
        }
    return NULL;
}

/* Those of the image, but for what is this sandbox's; what the request says goes before. */
static int variables(const struct record *record, struct seed_env **ret_env, size_t *ret_n, struct runner_error *err)
{
    const struct json *asked, *image;

    if (member_of(record->request, "env", JSON_OBJECT, &asked, err) < 0 ||
        member_of(record->image, "env", JSON_OBJECT, &image, err) < 0)
        return -1;
    *ret_env = mem_array(length(asked) + length(image) + ARRAY_LEN(own), sizeof **ret_env);
    for (const struct json *j = image != NULL ? image->first : NULL; j != NULL; j = j->next)
        if (!has_member(asked, j->key) && own_text(record, j->key) == NULL &&
            !text_starts(j->key, "DAYTONA_SANDBOX_", NULL))
            (*ret_env)[(*ret_n)++] = (struct seed_env){j->key, j->text};
    for (const struct json *j = asked != NULL ? asked->first : NULL; j != NULL; j = j->next)
        (*ret_env)[(*ret_n)++] = (struct seed_env){j->key, j->text};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own_text(record, own[i].variable) != NULL && !has_member(asked, own[i].variable))
            (*ret_env)[(*ret_n)++] = (struct seed_env){own[i].variable, own_text(record, own[i].variable)};
    return 0;
}

/* The request's, else the image's own; where that is the daemon itself, what it was given to run (contract 6.1). */
static int entrypoint(const struct record *record, const char ***ret_list, size_t *ret_n, struct runner_error *err)
{
    if (texts(record->request, "entrypoint", ret_list, ret_n, err) < 0)
        return -1;
    if (*ret_n > 0)
        return 0;
    free(*ret_list);
    *ret_list = NULL;
    if (texts(record->image, "entrypoint", ret_list, ret_n, err) < 0)
        return -1;
    if (*ret_n == 0 || strcmp((*ret_list)[0], "/usr/local/bin/daytona") != 0)
        return 0;
    free(*ret_list);
    *ret_list = NULL;
    *ret_n = 0;
    return texts(record->image, "cmd", ret_list, ret_n, err);
}

static int read_daemon(const char *path, struct str *ret, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "guest daemon '%s'", path);
    if (st.st_size > SEED_DAEMON_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "guest daemon '%s': larger than %d bytes", path, SEED_DAEMON_MAX);
    str_reserve(ret, (size_t)st.st_size);
    while (ret->len < (size_t)st.st_size) {
        ssize_t n = read(fd, ret->ptr + ret->len, (size_t)st.st_size - ret->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_errno(err, n < 0 ? errno : EIO, "guest daemon '%s'", path);
        ret->len += (size_t)n;
    }
    return 0;
}

const char *sandbox_daemon_path(const struct config_host *config)
{
    return config->daemon != NULL ? config->daemon : DAEMON_PATH;
}

int sandbox_seed(const struct config_host *config, const struct record *record, struct str *ret_iso,
                 struct runner_error *err)
{
    bool brings_daemon = config->daemon == NULL && record->boot.has_daemon;
    const char *daemon_path = brings_daemon ? NULL : sandbox_daemon_path(config);
    auto_free const char **words = NULL, **keys = NULL;
    auto_free struct seed_env *env = NULL;
    auto_str struct str daemon = STR_INIT;
    char hostname[IDENTITY_HOSTNAME_SIZE];
    const struct runner_nic nic = nic_of_guest(&record->nic);
    struct seed seed = {.id = record->id,
                        .hostname = hostname,
                        .snapshot = record->snapshot,
                        .nic = &nic,
                        .daemon_port = GUEST_DAEMON_PORT};

    identity_hostname(record->id, hostname);
    seed.user = json_text(record->request, "osUser", "root");
    seed.run_as = json_text(record->image, "user", NULL);
    if (record->image != NULL && seed.run_as == NULL)
        seed.run_as = "root";
    seed.workdir = json_text(record->image, "workdir", NULL);
    if (variables(record, &env, &seed.n_env, err) < 0 || entrypoint(record, &words, &seed.n_entrypoint, err) < 0 ||
        texts(record->request, "sshKeys", &keys, &seed.n_ssh_keys, err) < 0)
        return -1;
    seed.env = env;
    seed.entrypoint = words;
    seed.ssh_keys = keys;
    if (daemon_path != NULL && read_daemon(daemon_path, &daemon, err) < 0)
        return -1;
    seed.daemon = daemon.ptr;
    seed.daemon_len = daemon.len;
    seed.has_own_daemon = record->boot.has_daemon;
    return seed_build(&seed, ret_iso, err);
}
