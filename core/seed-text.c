#include "core/seed-text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/util/json.h"

/* ---- YAML ---- */

/* Characters that JSON may hold as they are and YAML may not, or takes for a line's end: U+0080 to U+009F, U+2028, U+2029,
 * U+FEFF, U+FFFE, U+FFFF. Both know \uXXXX. Returns the length of the UTF-8 sequence, 0 for any other character. */
static size_t yaml_special(const unsigned char *p, size_t left, unsigned *ret_code)
{
    unsigned code;

    if (left >= 2 && p[0] == 0xc2 && p[1] <= 0x9f) {
        *ret_code = p[1];
        return 2;
    }
    if (left < 3 || (p[0] != 0xe2 && p[0] != 0xef))
        return 0;
    code = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    if (code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe && code != 0xffff)
        return 0;
    *ret_code = code;
    return 3;
}

/* Appends JSON text as YAML. Outside strings all is ASCII, so that only characters of strings are changed. */
static void add_yaml(struct str *out, const struct str *json)
{
    const unsigned char *p = (const unsigned char *)str_text(json), *end = p + json->len, *from = p;

    while (p < end) {
        unsigned code = 0;
        size_t len = *p < 0x80 ? 0 : yaml_special(p, (size_t)(end - p), &code);
        if (len == 0) {
            p++;
            continue;
        }
        str_add_mem(out, from, (size_t)(p - from));
        str_addf(out, "\\u%04x", code);
        p += len;
        from = p;
    }
    str_add_mem(out, from, (size_t)(end - from));
    str_add_char(out, '\n');
}

static void add_list(struct str *json, const char *key, const char *const *texts, size_t n)
{
    json_open(json, key, '[');
    for (size_t i = 0; i < n; i++)
        json_add_text(json, NULL, texts[i]);
    json_close(json, ']');
}

/* The name servers of nic->dns, which stand between blanks or commas. */
static void add_dns(struct str *json, const char *key, const struct runner_nic *nic)
{
    const char *p = nic->dns;

    json_open(json, key, '[');
    while (*(p += strspn(p, " ,")) != '\0') {
        size_t len = strcspn(p, " ,");
        auto_free char *word = mem_dup_n(p, len);
        json_add_text(json, NULL, word);
        p += len;
    }
    json_close(json, ']');
}

/* ---- environment ---- */

/* The daemon's own variables come first, and one of the request with the same name takes its place. */
struct environment {
    struct seed_env own[3];
    size_t n_own;
    const struct seed *seed;
};

static bool env_has(const struct seed *seed, const char *name)
{
    for (size_t i = 0; i < seed->n_env; i++)
        if (strcmp(seed->env[i].name, name) == 0)
            return true;
    return false;
}

static void env_init(struct environment *env, const struct seed *seed)
{
    const struct seed_env own[] = {{"DAYTONA_SANDBOX_ID", seed->id},
                                   {"DAYTONA_SANDBOX_SNAPSHOT", seed->snapshot},
                                   {"DAYTONA_SANDBOX_USER", seed->user}};

    *env = (struct environment){.seed = seed};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own[i].value != NULL && !env_has(seed, own[i].name))
            env->own[env->n_own++] = own[i];
}

static size_t env_count(const struct environment *env)
{
    return env->n_own + env->seed->n_env;
}

static const struct seed_env *env_at(const struct environment *env, size_t i)
{
    return i < env->n_own ? &env->own[i] : &env->seed->env[i - env->n_own];
}

/* What a shell and systemd take as a name; others are in runner.json alone. */
static bool is_shell_name(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '_')
            return false;
    return true;
}

/* NAME="value", quoted as systemd's EnvironmentFile and a shell read it. */
static void add_unit_environment(struct str *out, const struct environment *env)
{
    for (size_t i = 0; i < env_count(env); i++) {
        const struct seed_env *e = env_at(env, i);
        if (!is_shell_name(e->name))
            continue;
        str_addf(out, "%s=\"", e->name);
        for (const char *p = e->value; *p != '\0'; p++) {
            if (strchr("\"\\`$", *p) != NULL)
                str_add_char(out, '\\');
            str_add_char(out, *p);
        }
        str_add(out, "\"\n");
    }
}

/* /etc/environment: pam_env knows no escapes and no more than a line of 1 KiB; what does not fit is left out. */
static void add_login_environment(struct str *out, const struct environment *env)
{
    enum { LINE_MAX_BYTES = 1000 };

    for (size_t i = 0; i < env_count(env); i++) {
        const struct seed_env *e = env_at(env, i);
        if (!is_shell_name(e->name) || strlen(e->name) + strlen(e->value) > LINE_MAX_BYTES ||
            strpbrk(e->value, "\n\r#") != NULL)
            continue;
        str_addf(out, "%s=\"%s\"\n", e->name, e->value);
    }
}

/* ---- user-data ---- */

static void add_file(struct str *json, const char *path, const char *mode, bool is_appended, const char *content)
{
    json_open(json, NULL, '{');
    json_add_text(json, "path", path);
    if (is_appended)
        json_add_bool(json, "append", true);
    else
        json_add_text(json, "permissions", mode);
    json_add_text(json, "content", content);
    json_close(json, '}');
}

static const char daemon_unit[] = "[Unit]\n"
                                  "Description=daemon of the sandbox\n"
                                  "After=network.target\n"
                                  "\n"
                                  "[Service]\n"
                                  "ExecStart=/usr/local/bin/" SEED_DAEMON_FILE "\n"
                                  "EnvironmentFile=-/etc/runner-ch/environment\n"
                                  "Restart=always\n"
                                  "RestartSec=1\n"
                                  "\n"
                                  "[Install]\n"
                                  "WantedBy=multi-user.target\n";

static bool is_installed(const struct seed *seed)
{
    return seed->daemon != NULL && !seed->has_own_daemon;
}

static void add_files(struct str *json, const struct seed *seed)
{
    auto_str struct str unit_env = STR_INIT, login_env = STR_INIT;
    struct environment env;

    env_init(&env, seed);
    add_unit_environment(&unit_env, &env);
    add_login_environment(&login_env, &env);
    json_open(json, "write_files", '[');
    add_file(json, "/etc/runner-ch/environment", "0600", false, str_text(&unit_env));
    add_file(json, "/etc/environment", NULL, true, str_text(&login_env));
    if (is_installed(seed))
        add_file(json, "/etc/systemd/system/" SEED_DAEMON_FILE ".service", "0644", false, daemon_unit);
    json_close(json, ']');
}

/* Takes the daemon from the volume and starts it; --no-block, for this itself runs in a unit that others wait for. */
static void add_commands(struct str *json)
{
    static const char *const commands[][8] = {
        {"mkdir", "-p", "/run/runner-seed"},
        {"mount", "-o", "ro", "-L", "cidata", "/run/runner-seed"},
        {"install", "-m", "0755", "/run/runner-seed/" SEED_DAEMON_FILE, "/usr/local/bin/" SEED_DAEMON_FILE},
        {"umount", "/run/runner-seed"},
        {"systemctl", "daemon-reload"},
        {"systemctl", "enable", "--now", "--no-block", SEED_DAEMON_FILE ".service"},
    };

    json_open(json, "runcmd", '[');
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        size_t n = 0;
        while (commands[i][n] != NULL)
            n++;
        add_list(json, NULL, commands[i], n);
    }
    json_close(json, ']');
}

static void add_user(struct str *json, const struct seed *seed)
{
    bool is_root = strcmp(seed->user, "root") == 0;

    json_add_bool(json, "disable_root", !is_root);
    json_open(json, "users", '[');
    json_open(json, NULL, '{');
    json_add_text(json, "name", seed->user);
    json_add_text(json, "shell", "/bin/bash");
    json_add_bool(json, "lock_passwd", true);
    if (!is_root)
        json_add_text(json, "sudo", "ALL=(ALL) NOPASSWD:ALL");
    if (seed->n_ssh_keys > 0)
        add_list(json, "ssh_authorized_keys", seed->ssh_keys, seed->n_ssh_keys);
    json_close(json, '}');
    json_close(json, ']');
}

void seed_user_data(const struct seed *seed, struct str *out)
{
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_add_text(&json, "hostname", seed->hostname);
    json_add_bool(&json, "preserve_hostname", false);
    json_add_text(&json, "manage_etc_hosts", "localhost"); /* 127.0.1.1 names the host: sudo looks it up */
    json_add_bool(&json, "ssh_pwauth", false);
    json_open(&json, "growpart", '{'); /* the disk has no partition */
    json_add_text(&json, "mode", "off");
    json_close(&json, '}');
    json_add_bool(&json, "resize_rootfs", true);
    add_user(&json, seed);
    add_files(&json, seed);
    if (is_installed(seed))
        add_commands(&json);
    json_close(&json, '}');
    str_add(out, "#cloud-config\n");
    add_yaml(out, &json);
}

/* ---- the others ---- */

void seed_meta_data(const struct seed *seed, struct str *out)
{
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_add_text(&json, "instance-id", seed->id);
    json_add_text(&json, "local-hostname", seed->hostname);
    json_close(&json, '}');
    add_yaml(out, &json);
}

static void add_cidr(struct str *json, const struct runner_nic *nic)
{
    char text[64];

    (void)snprintf(text, sizeof text, "%s/%u", nic->address, nic->prefix_len);
    json_open(json, "addresses", '[');
    json_add_text(json, NULL, text);
    json_close(json, ']');
}

void seed_network_config(const struct seed *seed, struct str *out)
{
    const struct runner_nic *nic = seed->nic;
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_add_int(&json, "version", 2);
    json_open(&json, "ethernets", '{');
    json_open(&json, "eth0", '{');
    json_open(&json, "match", '{');
    json_add_text(&json, "macaddress", nic->mac);
    json_close(&json, '}');
    json_add_text(&json, "set-name", "eth0");
    add_cidr(&json, nic);
    if (nic->gateway[0] != '\0')
        json_add_text(&json, "gateway4", nic->gateway);
    if (nic->dns[0] != '\0') {
        json_open(&json, "nameservers", '{');
        add_dns(&json, "addresses", nic);
        json_close(&json, '}');
    }
    if (nic->mtu > 0)
        json_add_int(&json, "mtu", nic->mtu);
    json_close(&json, '}');
    json_close(&json, '}');
    json_close(&json, '}');
    add_yaml(out, &json);
}

bool seed_has_network(const struct seed *seed)
{
    return seed->nic != NULL && seed->nic->address[0] != '\0';
}

static void add_network(struct str *json, const struct runner_nic *nic)
{
    json_open(json, "network", '{');
    json_add_text(json, "mac", nic->mac);
    json_add_text(json, "address", nic->address);
    json_add_int(json, "prefix", nic->prefix_len);
    json_add_text(json, "gateway", nic->gateway[0] != '\0' ? nic->gateway : NULL);
    add_dns(json, "dns", nic);
    if (nic->mtu > 0)
        json_add_int(json, "mtu", nic->mtu);
    json_close(json, '}');
}

void seed_runner_json(const struct seed *seed, struct str *out)
{
    struct environment env;

    env_init(&env, seed);
    json_open(out, NULL, '{');
    json_add_int(out, "schema", 1);
    json_add_text(out, "id", seed->id);
    json_add_text(out, "hostname", seed->hostname);
    json_add_text(out, "user", seed->user);
    json_add_text(out, "snapshot", seed->snapshot);
    if (seed->run_as != NULL)
        json_add_text(out, "runAs", seed->run_as);
    if (seed->workdir != NULL)
        json_add_text(out, "workdir", seed->workdir);
    json_open(out, "env", '{');
    for (size_t i = 0; i < env_count(&env); i++)
        json_add_text(out, env_at(&env, i)->name, env_at(&env, i)->value);
    json_close(out, '}');
    if (seed->n_entrypoint > 0)
        add_list(out, "entrypoint", seed->entrypoint, seed->n_entrypoint);
    else
        json_add_null(out, "entrypoint");
    add_list(out, "sshKeys", seed->ssh_keys, seed->n_ssh_keys);
    if (seed_has_network(seed))
        add_network(out, seed->nic);
    json_add_int(out, "daemonPort", seed->daemon_port);
    json_close(out, '}');
    str_add_char(out, '\n');
}
