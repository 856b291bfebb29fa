#include "guest/daemon/seed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/text.h"

void seed_default(struct seed *ret)
{
    *ret = (struct seed){.id = "", .hostname = "sandbox", .port = 2280};
}

void seed_done(struct seed *s)
{
    json_free(s->tree);
    s->tree = NULL;
}

static int wrong(struct runner_error *err, const char *key, const char *expected)
{
    return fail(err, RUNNER_E_INVALID, 0, "runner.json: %s is not %s", key, expected);
}

/* NULL members count as absent. */
static const struct json *member(const struct json *j, const char *key)
{
    const struct json *m = json_get(j, key);

    return m == NULL || m->type == JSON_NULL ? NULL : m;
}

static int get_text(const struct json *j, const char *key, const char **ret, struct runner_error *err)
{
    const struct json *m = member(j, key);

    if (m != NULL && m->type != JSON_STRING)
        return wrong(err, key, "a text");
    if (m != NULL)
        *ret = m->text;
    return 0;
}

static int get_texts(const struct json *j, const char *key, enum json_type type, const struct json **ret,
                     struct runner_error *err)
{
    const struct json *m = member(j, key);
    size_t n = 0;

    if (m == NULL)
        return 0;
    if (m->type != type)
        return wrong(err, key, type == JSON_ARRAY ? "an array of texts" : "an object of texts");
    for (const struct json *item = m->first; item != NULL; item = item->next)
        if (item->type != JSON_STRING || ++n > SEED_ARGS_MAX)
            return wrong(err, key, "a list of at most 1024 texts");
    *ret = m->first == NULL ? NULL : m;
    return 0;
}

static int get_address(const struct json *j, const char *key, bool is_needed, uint32_t *ret, struct runner_error *err)
{
    const char *text = json_text(j, key, NULL);
    struct in_addr in;

    if (text == NULL && !is_needed && member(j, key) == NULL)
        return 0;
    if (text == NULL || inet_pton(AF_INET, text, &in) != 1)
        return wrong(err, key, "an IPv4 address");
    *ret = in.s_addr;
    return 0;
}

static int get_mac(const struct json *j, struct seed_network *n, struct runner_error *err)
{
    const char *text = NULL;
    char *end;

    if (get_text(j, "mac", &text, err) < 0)
        return -1;
    if (text == NULL)
        return 0;
    for (int i = 0; i < 6; i++, text += 3) {
        if (strspn(text, "0123456789abcdefABCDEF") != 2 || text[2] != (i < 5 ? ':' : '\0'))
            return wrong(err, "network.mac", "a MAC address");
        n->mac[i] = (uint8_t)strtoul(text, &end, 16);
    }
    n->has_mac = true;
    return 0;
}

static int get_dns(const struct json *j, struct seed_network *n, struct runner_error *err)
{
    const struct json *list = NULL;
    struct in_addr in;

    if (get_texts(j, "dns", JSON_ARRAY, &list, err) < 0)
        return -1;
    for (const struct json *item = list == NULL ? NULL : list->first; item != NULL; item = item->next) {
        if (inet_pton(AF_INET, item->text, &in) != 1)
            return wrong(err, "network.dns", "a list of IPv4 addresses");
        if (n->n_dns < SEED_DNS_MAX)
            n->dns[n->n_dns++] = in.s_addr;
    }
    return 0;
}

static int get_network(const struct json *tree, struct seed_network *n, struct runner_error *err)
{
    const struct json *j = member(tree, "network");
    int64_t prefix;

    if (j == NULL)
        return 0;
    if (j->type != JSON_OBJECT)
        return wrong(err, "network", "an object");
    prefix = json_int(j, "prefix", -1);
    if (prefix < 1 || prefix > 32)
        return wrong(err, "network.prefix", "a number from 1 to 32");
    n->prefix = (unsigned)prefix;
    n->is_set = true;
    if (get_address(j, "address", true, &n->address, err) < 0 || get_address(j, "gateway", false, &n->gateway, err) < 0)
        return -1;
    return get_mac(j, n, err) < 0 ? -1 : get_dns(j, n, err);
}

/* Letters, digits, '-' and '.': it is written into /etc/hosts. */
static int check_hostname(const char *name, struct runner_error *err)
{
    size_t len = strlen(name);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";

    if (len == 0 || len > 64 || strspn(name, allowed) != len || name[0] == '-' || name[0] == '.')
        return wrong(err, "hostname", "a host name of at most 64 letters, digits, '-' and '.'");
    return 0;
}

static int read_members(struct seed *s, struct runner_error *err)
{
    const struct json *j = s->tree;
    const struct json *port = member(j, "daemonPort");
    const char *hostname = NULL;

    if (j->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "runner.json: not an object");
    if (json_int(j, "schema", 1) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "runner.json: schema %lld is newer than this daemon (1)",
                    (long long)json_int(j, "schema", 1));
    if (get_text(j, "id", &s->id, err) < 0 || get_text(j, "hostname", &hostname, err) < 0 ||
        get_text(j, "user", &s->user, err) < 0 || get_text(j, "snapshot", &s->snapshot, err) < 0 ||
        get_text(j, "runAs", &s->run_as, err) < 0 || get_text(j, "workdir", &s->workdir, err) < 0)
        return -1;
    if (s->workdir != NULL && s->workdir[0] != '/')
        return wrong(err, "workdir", "an absolute path");
    if (hostname == NULL && text_is_id(s->id))
        hostname = s->id;
    if (hostname != NULL)
        s->hostname = hostname;
    if (get_texts(j, "env", JSON_OBJECT, &s->env, err) < 0 ||
        get_texts(j, "entrypoint", JSON_ARRAY, &s->entrypoint, err) < 0 ||
        get_texts(j, "sshKeys", JSON_ARRAY, &s->ssh_keys, err) < 0)
        return -1;
    if (port != NULL && (port->type != JSON_INT || port->number < 1 || port->number > 65535))
        return wrong(err, "daemonPort", "a port");
    if (port != NULL)
        s->port = (int)port->number;
    return check_hostname(s->hostname, err) < 0 ? -1 : get_network(j, &s->network, err);
}

int seed_parse(const char *text, size_t len, struct seed *ret, struct runner_error *err)
{
    struct seed s;

    seed_default(&s);
    if (json_parse(text, len, &s.tree, err) < 0)
        return error_wrap(err, "runner.json");
    if (read_members(&s, err) < 0) {
        seed_done(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

int seed_load(const char *path, struct seed *ret, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    char buffer[4096];
    ssize_t n;

    if (fd < 0)
        return fail_errno(err, errno, "open '%s'", path);
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        str_add_mem(&text, buffer, (size_t)n);
        if (text.len > SEED_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "'%s' is larger than %d bytes", path, SEED_MAX);
    }
    if (n < 0)
        return fail_errno(err, errno, "read '%s'", path);
    return seed_parse(str_text(&text), text.len, ret, err);
}

static void export(const char *name, const char *value)
{
    if (value != NULL && *value != '\0')
        (void)setenv(name, value, 1);
}

void seed_export(const struct seed *s)
{
    export("DAYTONA_SANDBOX_ID", s->id);
    export("DAYTONA_SANDBOX_SNAPSHOT", s->snapshot);
    export("DAYTONA_SANDBOX_USER", s->user);
    for (const struct json *j = s->env == NULL ? NULL : s->env->first; j != NULL; j = j->next)
        if (*j->key != '\0' && strchr(j->key, '=') == NULL)
            (void)setenv(j->key, j->text, 1);
}
