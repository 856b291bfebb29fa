#include "core/seed.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "core/iso.h"
#include "core/seed-text.h"
#include "core/util/text.h"

/* ---- checks ---- */

static bool has_control(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

/* [a-z_][a-z0-9_-]{0,31}: what useradd of any distribution takes. */
static bool is_user_name(const char *name)
{
    size_t len = strlen(name);

    if (len < 1 || len > 32 || name[0] == '-' || (name[0] >= '0' && name[0] <= '9'))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

/* "user" or "user:group", each a name or a number, as images have it. */
static bool is_run_as(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-:";
    size_t len = strlen(text);

    return len >= 1 && len <= 128 && strspn(text, allowed) == len && text[0] != ':' && text[len - 1] != ':' &&
           strchr(text, ':') == strrchr(text, ':');
}

static bool is_workdir(const char *text)
{
    return text[0] == '/' && strlen(text) < 4096 && !has_control(text);
}

static int count_text(size_t *total, size_t more, struct runner_error *err)
{
    *total += more;
    if (*total > SEED_TEXT_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "env, sshKeys and entrypoint have more than %d bytes in all",
                    SEED_TEXT_MAX);
    return 0;
}

static int check_env(const struct seed *seed, size_t *total, struct runner_error *err)
{
    if (seed->n_env > SEED_ENV_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "env: %zu entries, more than %d", seed->n_env, SEED_ENV_MAX);
    for (size_t i = 0; i < seed->n_env; i++) {
        const char *name = seed->env[i].name, *value = seed->env[i].value;
        if (name[0] == '\0' || strchr(name, '=') != NULL || has_control(name))
            return fail(err, RUNNER_E_INVALID, 0, "env: '%.80s' is not a variable's name", name);
        if (strlen(name) > SEED_ENV_NAME_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "env: the name '%.80s...' has more than %d bytes", name,
                        SEED_ENV_NAME_MAX);
        if (strlen(value) > SEED_ENV_VALUE_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "env: the value of '%s' has %zu bytes, more than %d", name,
                        strlen(value), SEED_ENV_VALUE_MAX);
        if (count_text(total, strlen(name) + strlen(value), err) < 0)
            return -1;
    }
    return 0;
}

static int check_keys(const struct seed *seed, size_t *total, struct runner_error *err)
{
    if (seed->n_ssh_keys > SEED_KEYS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "sshKeys: %zu keys, more than %d", seed->n_ssh_keys, SEED_KEYS_MAX);
    for (size_t i = 0; i < seed->n_ssh_keys; i++) {
        if (seed->ssh_keys[i][0] == '\0' || has_control(seed->ssh_keys[i]))
            return fail(err, RUNNER_E_INVALID, 0, "sshKeys[%zu]: not one line of an authorized_keys file", i);
        if (count_text(total, strlen(seed->ssh_keys[i]), err) < 0)
            return -1;
    }
    return 0;
}

static int check_entrypoint(const struct seed *seed, size_t *total, struct runner_error *err)
{
    if (seed->n_entrypoint > SEED_ENTRYPOINT_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "entrypoint: %zu words, more than %d", seed->n_entrypoint,
                    SEED_ENTRYPOINT_MAX);
    for (size_t i = 0; i < seed->n_entrypoint; i++)
        if (count_text(total, strlen(seed->entrypoint[i]), err) < 0)
            return -1;
    return 0;
}

static bool is_address(const char *text, size_t len)
{
    char copy[INET_ADDRSTRLEN];
    struct in_addr in;

    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return inet_pton(AF_INET, copy, &in) == 1;
}

/* Six pairs of hexadecimal digits with colons between. */
static bool is_mac(const char *text)
{
    for (int i = 0; i < 17; i++)
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return false;
    return text[17] == '\0';
}

/* What the plugins said, or the record: IPv4 is what the guest's daemon knows. */
static int check_nic(const struct seed *seed, struct runner_error *err)
{
    const struct runner_nic *nic = seed->nic;

    if (!seed_has_network(seed))
        return 0;
    if (!is_address(nic->address, strlen(nic->address)) || nic->prefix_len < 1 || nic->prefix_len > 32)
        return fail(err, RUNNER_E_INVALID, 0, "address: '%s/%u' is not an IPv4 address with a prefix of /1 to /32",
                    nic->address, nic->prefix_len);
    if (!is_mac(nic->mac))
        return fail(err, RUNNER_E_INVALID, 0, "mac: '%s' is not a MAC address", nic->mac);
    if (nic->gateway[0] != '\0' && !is_address(nic->gateway, strlen(nic->gateway)))
        return fail(err, RUNNER_E_INVALID, 0, "gateway: '%s' is not an IPv4 address", nic->gateway);
    for (const char *p = nic->dns; *(p += strspn(p, " ,")) != '\0'; p += strcspn(p, " ,"))
        if (!is_address(p, strcspn(p, " ,")))
            return fail(err, RUNNER_E_INVALID, 0, "dns: '%s' is not a list of IPv4 addresses", nic->dns);
    return 0;
}

static int check(const struct seed *seed, struct runner_error *err)
{
    size_t total = 0;

    if (!text_is_id(seed->id))
        return fail(err, RUNNER_E_INVALID, 0, "id: '%.80s' is not a sandbox id", seed->id);
    if (!text_is_id(seed->hostname))
        return fail(err, RUNNER_E_INVALID, 0, "hostname: '%.80s' is not a host name", seed->hostname);
    if (seed->run_as != NULL && !is_run_as(seed->run_as))
        return fail(err, RUNNER_E_INVALID, 0, "image: '%.80s' is not a user", seed->run_as);
    if (seed->workdir != NULL && !is_workdir(seed->workdir))
        return fail(err, RUNNER_E_INVALID, 0, "image: '%.80s' is not a working directory", seed->workdir);
    if (!is_user_name(seed->user))
        return fail(err, RUNNER_E_INVALID, 0, "osUser: '%.80s' is not a user name", seed->user);
    if (check_env(seed, &total, err) < 0 || check_keys(seed, &total, err) < 0 ||
        check_entrypoint(seed, &total, err) < 0 || check_nic(seed, err) < 0)
        return -1;
    if (seed->daemon != NULL && (seed->daemon_len == 0 || seed->daemon_len > SEED_DAEMON_MAX))
        return fail(err, RUNNER_E_INVALID, 0, "daemon: a program of %zu bytes, not 1 to %d", seed->daemon_len,
                    SEED_DAEMON_MAX);
    return 0;
}

/* ---- the volume ---- */

static void file_add(struct iso_file *files, size_t *n, const char *name, const struct str *text)
{
    files[(*n)++] = (struct iso_file){name, str_text(text), text->len};
}

int seed_build(const struct seed *seed, struct str *ret_iso, struct runner_error *err)
{
    auto_str struct str meta = STR_INIT, user = STR_INIT, network = STR_INIT, runner = STR_INIT;
    struct iso_file files[5];
    size_t n = 0;

    if (check(seed, err) < 0)
        return error_wrap(err, "seed");
    seed_meta_data(seed, &meta);
    file_add(files, &n, "meta-data", &meta);
    seed_user_data(seed, &user);
    file_add(files, &n, "user-data", &user);
    if (seed_has_network(seed)) {
        seed_network_config(seed, &network);
        file_add(files, &n, "network-config", &network);
    }
    seed_runner_json(seed, &runner);
    if (runner.len > SEED_JSON_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "seed: env, sshKeys and entrypoint have %zu bytes as JSON, more than %d",
                    runner.len, SEED_JSON_MAX);
    file_add(files, &n, "runner.json", &runner);
    if (seed->daemon != NULL)
        files[n++] = (struct iso_file){SEED_DAEMON_FILE, seed->daemon, seed->daemon_len};
    return iso_build("cidata", files, n, ret_iso, err) < 0 ? error_wrap(err, "seed") : 0;
}
