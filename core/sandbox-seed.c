#include "core/sandbox-seed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "core/guest.h"
#include "core/identity.h"
#include "core/seed.h"

static size_t length(const struct json *list)
{
    size_t n = 0;

    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        n++;
    return n;
}

/* An array of strings of the request; *ret_list is the caller's, its texts are the request's. */
static size_t texts(const struct json *request, const char *key, const char ***ret_list)
{
    const struct json *list = json_get(request, key);
    size_t n = 0;

    *ret_list = mem_array(length(list), sizeof(char *));
    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        (*ret_list)[n++] = j->text;
    return n;
}

static size_t variables(const struct json *request, struct seed_env **ret_env)
{
    const struct json *env = json_get(request, "env");
    size_t n = 0;

    *ret_env = mem_array(length(env), sizeof **ret_env);
    for (const struct json *j = env != NULL ? env->first : NULL; j != NULL; j = j->next)
        (*ret_env)[n++] = (struct seed_env){j->key, j->text};
    return n;
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
    auto_free const char **entrypoint = NULL, **keys = NULL;
    auto_free struct seed_env *env = NULL;
    auto_str struct str daemon = STR_INIT;
    char hostname[IDENTITY_HOSTNAME_SIZE];
    struct seed seed = {.id = record->id,
                        .hostname = hostname,
                        .snapshot = record->snapshot,
                        .nic = &record->nic,
                        .daemon_port = GUEST_DAEMON_PORT};

    identity_hostname(record->id, hostname);
    seed.user = json_text(record->request, "osUser", "root");
    seed.n_env = variables(record->request, &env);
    seed.env = env;
    seed.n_entrypoint = texts(record->request, "entrypoint", &entrypoint);
    seed.entrypoint = entrypoint;
    seed.n_ssh_keys = texts(record->request, "sshKeys", &keys);
    seed.ssh_keys = keys;
    if (daemon_path != NULL && read_daemon(daemon_path, &daemon, err) < 0)
        return -1;
    seed.daemon = daemon.ptr;
    seed.daemon_len = daemon.len;
    seed.has_own_daemon = record->boot.has_daemon;
    return seed_build(&seed, ret_iso, err);
}
