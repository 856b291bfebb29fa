/* runnerctl create */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/ctl/create.h"
#include "core/ctl/network.h"
#include "core/ctl/table.h"
#include "core/util/text.h"

#define KEY_FILE_MAX 65536

struct create_options {
    const char *snapshot, *name, *user;
    int64_t cpus, memory_gib, disk_gib;
    struct words env, ssh_keys;
    bool is_timings, is_no_start;
    struct network_options network;
};

static int make_id(struct str *ret, struct runner_error *err)
{
    unsigned char b[16];

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return fail(err, RUNNER_E_IO, errno, "random bytes for an id");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof b; i++)
        str_addf(ret, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
    return 0;
}

static bool is_env_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return len > 0;
}

/* The last of a repeated name counts: JSON knows each key once. */
static bool is_last(const struct words *env, size_t at, size_t name_len)
{
    for (size_t i = at + 1; i < env->n; i++)
        if (strncmp(env->ptr[i], env->ptr[at], name_len + 1) == 0)
            return false;
    return true;
}

int create_add_env(struct str *out, const char *key, const struct words *env, struct runner_error *err)
{
    json_open(out, key, '{');
    for (size_t i = 0; i < env->n; i++) {
        const char *equals = strchr(env->ptr[i], '=');
        size_t len = equals != NULL ? (size_t)(equals - env->ptr[i]) : 0;
        auto_free char *name = mem_dup_n(env->ptr[i], len);
        if (!is_env_name(name, len))
            return fail(err, RUNNER_E_INVALID, 0, "--env: '%s' is not NAME=VALUE", env->ptr[i]);
        if (is_last(env, i, len))
            json_add_text(out, name, equals + 1);
    }
    json_close(out, '}');
    return 0;
}

/* One key a line, as in id_ed25519.pub and authorized_keys. A private key given by mistake must not leave this machine.
 */
static int add_keys(struct str *out, const char *path, struct runner_error *err)
{
    auto_fclose FILE *file = fopen(path, "re");
    auto_free char *line = NULL;
    size_t cap = 0, n = 0, total = 0;
    ssize_t len;

    if (file == NULL)
        return fail(err, RUNNER_E_IO, errno, "--ssh-key: '%s'", path);
    while ((len = getline(&line, &cap, file)) > 0) {
        total += (size_t)len;
        line[strcspn(line, "\r\n")] = '\0';
        if (total > KEY_FILE_MAX || strstr(line, "PRIVATE KEY") != NULL)
            return fail(err, RUNNER_E_IO, 0, "--ssh-key: '%s' is not a file of public keys", path);
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (!text_starts(line, "ssh-", NULL) && !text_starts(line, "ecdsa-", NULL) && !text_starts(line, "sk-", NULL))
            return fail(err, RUNNER_E_IO, 0, "--ssh-key: '%s' is not a file of public keys", path);
        json_add_text(out, NULL, line);
        n++;
    }
    if (ferror(file) || n == 0)
        return fail(err, RUNNER_E_IO, ferror(file) ? errno : 0, "--ssh-key: '%s' holds no public key", path);
    return 0;
}

/* What is not asked for is left to the runner's defaults. */
static void add_quota(struct str *out, const char *key, int64_t value)
{
    if (value > 0)
        json_add_int(out, key, value);
}

static int build_body(const struct create_options *o, const char *id, struct str *out, struct runner_error *err)
{
    json_open(out, NULL, '{');
    json_add_text(out, "id", id);
    json_add_text(out, "name", o->name != NULL ? o->name : id);
    json_add_text(out, "userId", "runnerctl");
    json_add_text(out, "snapshot", o->snapshot);
    json_add_text(out, "osUser", o->user);
    add_quota(out, "cpuQuota", o->cpus);
    add_quota(out, "memoryQuota", o->memory_gib);
    add_quota(out, "storageQuota", o->disk_gib);
    if (create_add_env(out, "env", &o->env, err) < 0)
        return -1;
    if (o->ssh_keys.n > 0) {
        json_open(out, "sshKeys", '[');
        for (size_t i = 0; i < o->ssh_keys.n; i++)
            if (add_keys(out, o->ssh_keys.ptr[i], err) < 0)
                return -1;
        json_close(out, ']');
    }
    network_add(&o->network, out);
    if (o->is_no_start)
        json_add_bool(out, "skipStart", true);
    json_close(out, '}');
    return 0;
}

static double number_of(const struct json *j)
{
    return j != NULL && (j->type == JSON_INT || j->type == JSON_DOUBLE) ? j->real : 0;
}

void create_add_timings(struct str *out, const struct json *reply)
{
    static const struct table_column columns[] = {{"PHASE", false}, {"MS", true}};
    const struct json *timings = json_get(reply, "timings");
    auto_table struct table t;
    double sum = 0;

    table_init(&t, columns, ARRAY_LEN(columns));
    for (const struct json *j = timings != NULL ? timings->first : NULL; j != NULL; j = j->next) {
        double ms = number_of(json_get(j, "ms"));
        table_add(&t, json_text(j, "phase", NULL));
        table_addf(&t, "%.2f", ms);
        sum += ms;
    }
    table_add(&t, "total");
    table_addf(&t, "%.2f", sum);
    table_print(&t, false, out);
}

static int report(struct ctl *ctl, const struct create_options *o, const struct client_reply *reply,
                  const struct json *tree, bool is_made_up)
{
    auto_str struct str out = STR_INIT;

    if (ctl->is_json) {
        if (is_made_up)
            (void)fprintf(stderr, "%s\n", ctl->subject);
        return ctl_print_json(ctl, reply);
    }
    str_addf(&out, "%s\n", ctl->subject);
    if (o->is_timings)
        create_add_timings(&out, tree);
    return ctl_print(ctl, &out);
}

/* A create may wait for its image longer than for all else. */
static void look(struct ctl *ctl)
{
    auto_free char *path = mem_printf("/sandboxes/%s", ctl->subject), *now = NULL;
    auto_json struct json *tree = NULL;
    const struct json *pull;

    if (!ctl_peek(ctl, path, &tree))
        return;
    pull = json_get(tree, "pull");
    now = mem_printf("create %s%s%s", ctl->subject, pull != NULL ? ": " : "", json_text(pull, "phase", ""));
    if (strcmp(ctl->doing, now) != 0 && (pull != NULL || ctl->doing[0] != '\0')) {
        (void)snprintf(ctl->doing, sizeof ctl->doing, "%s", now);
        progress_next(ctl->progress, ctl->doing);
    }
    ctl->progress->done_bytes = json_int(pull, "doneBytes", 0);
    ctl->progress->total_bytes = json_int(pull, "totalBytes", 0);
}

static int create(struct ctl *ctl, const struct create_options *o, const char *given)
{
    auto_str struct str id = STR_INIT, body = STR_INIT;
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    struct runner_error err = ERROR_INIT;
    int code;

    if (!text_is_ref(o->snapshot))
        return ctl_fail(ctl, CTL_USAGE, "--snapshot: '%.80s' is not the name of a snapshot", o->snapshot);
    if (network_check(ctl, &o->network) != CTL_OK)
        return CTL_USAGE;
    if (given != NULL) {
        if (ctl_check_id(ctl, given) != CTL_OK)
            return CTL_USAGE;
        str_add(&id, given);
    } else if (make_id(&id, &err) < 0) {
        return ctl_fail_err(ctl, &err);
    }
    if (build_body(o, str_text(&id), &body, &err) < 0)
        return ctl_fail_err(ctl, &err);
    ctl->subject = str_text(&id);
    ctl->look = look;
    code = ctl_request(ctl, "POST", "/sandboxes", str_text(&body), &reply, &tree);
    if (code == CTL_OK)
        code = report(ctl, o, &reply, tree, given == NULL);
    ctl->look = NULL;
    ctl->subject = NULL;
    return code;
}

int create_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    struct create_options o = {.snapshot = "tiny", .user = "daytona"};
    struct option_spec own[10 + NETWORK_OPTIONS] = {
        {'s', "snapshot", "REF", "what its disk grows from [tiny]", OPTION_TEXT, &o.snapshot, 0, 0},
        {'c', "cpus", "N", "virtual CPUs [the runner's default]", OPTION_INT, &o.cpus, 1, 1024},
        {'m', "memory", "GIB", "memory in GiB [the runner's default]", OPTION_INT, &o.memory_gib, 1, 65536},
        {'d', "disk", "GIB", "size of the disk in GiB [the runner's default]", OPTION_INT, &o.disk_gib, 1, 1048576},
        {'e', "env", "NAME=VALUE", "a variable of its environment; may be repeated", OPTION_WORDS, &o.env, 0, 0},
        {0, "ssh-key", "FILE", "public keys that may log in; may be repeated", OPTION_WORDS, &o.ssh_keys, 0, 0},
        {'n', "name", "NAME", "a name to show [the id]", OPTION_TEXT, &o.name, 0, 0},
        {'u', "user", "NAME", "the user that commands run as [daytona]", OPTION_TEXT, &o.user, 0, 0},
        {0, "no-start", NULL, "leave it stopped", OPTION_FLAG, &o.is_no_start, 0, 0},
        {'t', "timings", NULL, "print how long each phase took", OPTION_FLAG, &o.is_timings, 0, 0},
    };
    int code;

    network_specs(&o.network, own + 10);
    code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, 1, &operands, NULL);
    if (code == CTL_GO_ON)
        code = create(ctl, &o, operands.n > 0 ? operands.ptr[0] : NULL);
    words_done(&o.env);
    words_done(&o.ssh_keys);
    return code;
}
