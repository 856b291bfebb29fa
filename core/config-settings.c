/* The keys of runner.yaml that core itself knows: tables, and the code that reads by them. */
#include "core/config-build.h"

#include <string.h>

#include "core/uids.h"
#include "core/util/text.h"

const struct place config_default_place = {"default", 0, 0};

static bool is_url(const char *text)
{
    const char *rest;

    if (!text_starts(text, "http://", &rest) && !text_starts(text, "https://", &rest))
        return false;
    return *rest != '\0' && *rest != '/' && strpbrk(text, " \"<>\\^`{|}?#") == NULL;
}

bool config_token_is_good(const char *text)
{
    size_t len =
        strspn(text, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz"
                     "{|}~");

    return len > 0 && len <= 1024 && text[len] == '\0';
}

static bool is_host_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:");

    return len > 0 && len <= 253 && text[len] == '\0';
}

static bool is_uid_range(const char *text)
{
    uint32_t first, n;

    return uids_parse(text, &first, &n);
}

/* clang-format off */
#define TEXT(k, type_, member, dflt_, good, want)                                                                      \
    {.param = {.name = k, .type = RUNNER_T_STRING, .dflt = dflt_}, .offset = offsetof(type_, member), .is_good = good,  \
     .expected = want}
#define PATH(k, type_, member, dflt_)                                                                                  \
    {.param = {.name = k, .type = RUNNER_T_PATH, .dflt = dflt_}, .offset = offsetof(type_, member)}
#define NUMBER(k, t, type_, member, dflt_, min_, max_)                                                                 \
    {.param = {.name = k, .type = t, .dflt = dflt_, .min = min_, .max = max_}, .offset = offsetof(type_, member)}
#define CHOICE(k, type_, member, dflt_, list, base_)                                                                   \
    {.param = {.name = k, .type = RUNNER_T_STRING, .dflt = dflt_, .choices = list}, .offset = offsetof(type_, member),  \
     .base = base_}
#define GROUP(key, table, offset) {key, table, ARRAY_LEN(table), offset}
/* clang-format on */

static const struct setting top[] = {
    PATH("plugin_dir", struct config, plugin_dir, PLUGIN_DIR),
    PATH("state_dir", struct config, state_dir, "/var/lib/runner-ch"),
    NUMBER("workers", RUNNER_T_INT, struct config, workers, "64", 1, 1024),
    NUMBER("loops", RUNNER_T_INT, struct config, loops, "2", 1, 64),
    NUMBER("check_interval", RUNNER_T_MSEC, struct config, check_ms, "3m", 1000, 86400000),
    TEXT("domain", struct config, domain, NULL, is_host_name, "a host name or an IP address"),
};

static const char *const orphans[] = {"keep", "report", "remove", NULL};
static const struct setting api[] = {
    TEXT("url", struct config_api, url, NULL, is_url, "a URL such as https://host/api"),
    {.param = {.name = "token", .type = RUNNER_T_STRING, .flags = RUNNER_P_SECRET},
     .offset = offsetof(struct config_api, token),
     .is_good = config_token_is_good,
     .expected = "1 to 1024 printable ASCII characters without blanks"},
    PATH("token_file", struct config_api, token_file, NULL),
    NUMBER("version", RUNNER_T_INT, struct config_api, version, "2", 0, 2),
    NUMBER("healthcheck_interval", RUNNER_T_MSEC, struct config_api, healthcheck_ms, "30s", 1000, 60000),
    NUMBER("heartbeat_interval", RUNNER_T_MSEC, struct config_api, heartbeat_ms, "60s", 1000, 300000),
    NUMBER("sync_interval", RUNNER_T_MSEC, struct config_api, sync_ms, "15s", 1000, 3600000),
    CHOICE("orphans", struct config_api, orphans, "remove", orphans, CONFIG_ORPHANS_KEEP),
    NUMBER("orphan_grace", RUNNER_T_MSEC, struct config_api, orphan_grace_ms, "10m", 1000, 604800000),
    NUMBER("init_daemon", RUNNER_T_BOOL, struct config_api, init_daemon, "true", 0, 1),
    PATH("ca_file", struct config_api, ca_file, NULL),
    PATH("cert_file", struct config_api, cert_file, NULL),
    PATH("key_file", struct config_api, key_file, NULL),
};

static const struct setting otlp[] = {
    TEXT("endpoint", struct config_otlp, endpoint, NULL, is_url, "a URL such as http://host:4318"),
    {.param = {.name = "headers", .type = RUNNER_T_STRING, .flags = RUNNER_P_SECRET},
     .offset = offsetof(struct config_otlp, headers)},
    NUMBER("traces", RUNNER_T_BOOL, struct config_otlp, traces, "false", 0, 1),
};

static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const formats[] = {"text", "json", NULL};
static const struct setting log_settings[] = {
    CHOICE("level", struct config_log, level, "info", levels, RUNNER_LOG_ERROR),
    CHOICE("format", struct config_log, format, "text", formats, CONFIG_LOG_TEXT),
};

static const struct setting limits[] = {
    NUMBER("body", RUNNER_T_BYTES, struct config_limits, body_bytes, "1M", 1024, 64 << 20),
    NUMBER("connections", RUNNER_T_INT, struct config_limits, connections, "8192", 1, 1000000),
    NUMBER("queue", RUNNER_T_INT, struct config_limits, queue, "1024", 1, 1000000),
    NUMBER("sandboxes", RUNNER_T_INT, struct config_limits, sandboxes, "0", 0, 1000000),
    NUMBER("pulls", RUNNER_T_INT, struct config_limits, pulls, "8", 1, 200),
    NUMBER("cpus", RUNNER_T_INT, struct config_limits, cpus, "64", 1, 1024),
    NUMBER("memory_mb", RUNNER_T_INT, struct config_limits, memory_mb, "1048576", 128, 67108864),
    NUMBER("disk_gb", RUNNER_T_INT, struct config_limits, disk_gb, "16384", 1, 1048576),
};

#define TIMEOUT(k, member, dflt) NUMBER(k, RUNNER_T_MSEC, struct config_timeouts, member, dflt, 100, 86400000)
static const struct setting timeouts[] = {
    TIMEOUT("create", create_ms, "5m"),
    TIMEOUT("start", start_ms, "3m"),
    TIMEOUT("stop", stop_ms, "1m"),
    NUMBER("stop_grace", RUNNER_T_MSEC, struct config_timeouts, stop_grace_ms, "10s", 0, 3600000),
    TIMEOUT("ready", ready_ms, "60s"),
    TIMEOUT("request", request_ms, "60s"),
    TIMEOUT("pull", pull_ms, "30m"),
    TIMEOUT("drain", drain_ms, "30s"),
};

const struct setting_group config_groups[] = {
    GROUP(NULL, top, 0),
    GROUP("api", api, offsetof(struct config, api)),
    GROUP("log", log_settings, offsetof(struct config, log)),
    GROUP("otlp", otlp, offsetof(struct config, otlp)),
    GROUP("limits", limits, offsetof(struct config, limits)),
    GROUP("timeouts", timeouts, offsetof(struct config, timeouts)),
    {NULL, NULL, 0, 0},
};

static const char *const image_inits[] = {"auto", "daemon", NULL};
static const struct setting host[] = {
    {.param = {.name = "name", .type = RUNNER_T_STRING, .flags = RUNNER_P_REQUIRED, .doc = "what the host is called"},
     .offset = offsetof(struct config_host, name),
     .is_good = text_is_plugin_name,
     .expected = "1 to 32 of a-z, 0-9 and '-'"},
    PATH("root", struct config_host, root, "/var/lib/cloud-hypervisor"),
    PATH("run_dir", struct config_host, run_dir, "/var/run/cloud-hypervisor"),
    PATH("daemon", struct config_host, daemon, NULL),
    TEXT("uids", struct config_host, uids, "1900000000-1900065535", is_uid_range,
         "none, or a range of at most 1000000 user ids such as 1900000000-1900065535"),
    CHOICE("image_init", struct config_host, image_init, "auto", image_inits, CONFIG_INIT_AUTO),
};
const struct setting_group config_host_group = GROUP(NULL, host, 0);

static const struct setting host_defaults[] = {
    TEXT("snapshot", struct config_host, snapshot, NULL, text_is_ref,
         "a snapshot reference such as tiny or org/name:1.0"),
    NUMBER("cpus", RUNNER_T_INT, struct config_host, cpus, "1", 1, 1024),
    NUMBER("memory_mb", RUNNER_T_INT, struct config_host, memory_mb, "1024", 64, 67108864),
    NUMBER("disk_gb", RUNNER_T_INT, struct config_host, disk_gb, "10", 1, 1048576),
    NUMBER("min_memory_mb", RUNNER_T_INT, struct config_host, min_memory_mb, "1024", 64, 67108864),
    NUMBER("memory_step_mb", RUNNER_T_INT, struct config_host, memory_step_mb, "128", 1, 65536),
};
const struct setting_group config_host_defaults = GROUP("defaults", host_defaults, 0);

#define FACTOR(k, dflt)  NUMBER(#k, VALUE_T_FACTOR, struct config_capacity, k, dflt, 0, 1000000)
#define RESERVE(k, dflt) NUMBER(#k, RUNNER_T_BYTES, struct config_capacity, k, dflt, 0, INT64_C(1) << 50)
static const struct setting host_capacity[] = {
    FACTOR(cpu_overcommit, "8"),  FACTOR(memory_overcommit, "1"), RESERVE(memory_reserve, "512M"),
    FACTOR(disk_overcommit, "5"), RESERVE(disk_reserve, "1G"),
};
const struct setting_group config_host_capacity = GROUP("capacity", host_capacity, 0);

/* ---- reading by them ---- */

void build_refuse(struct build *b, const struct yaml *node, const char *format, ...)
{
    auto_free char *path = yaml_path(node, NULL);
    auto_str struct str text = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&text, format, args);
    va_end(args);
    report_add(&b->report, &node->at, path, "%s", str_text(&text));
}

void build_origin(struct build *b, const char *key, const struct yaml *node)
{
    const struct place *at = node != NULL ? &node->at : &config_default_place;
    struct config *config = b->config;
    struct config_origin *origin;

    config->origins = mem_grow(config->origins, config->n_origins + 1, sizeof *config->origins);
    origin = &config->origins[config->n_origins++];
    origin->key = mem_dup(key);
    origin->text = at->line > 0 ? mem_printf("%s:%d", at->source, at->line) : mem_dup(at->source);
}

void build_unknown_key(struct build *b, const struct yaml *node, const char *const *words, size_t n)
{
    auto_free char *path = yaml_path(node, NULL);
    const char *nearest = text_nearest(node->key, words, n);
    auto_str struct str all = STR_INIT;

    if (nearest != NULL) {
        report_add(&b->report, &node->key_at, path, "unknown key '%s'; did you mean '%s'?", node->key, nearest);
        return;
    }
    for (size_t i = 0; i < n; i++)
        str_addf(&all, "%s%s", i > 0 ? ", " : "", words[i]);
    report_add(&b->report, &node->key_at, path, "unknown key '%s'; expected one of %s", node->key, str_text(&all));
}

struct yaml *build_map(struct build *b, struct yaml *parent, const char *key)
{
    struct yaml *node = yaml_get(parent, key);
    char found[80];

    if (node == NULL) {
        node = yaml_new(YAML_MAP, &config_default_place, NULL);
        yaml_put(parent, key, node);
    }
    if (node->type == YAML_MAP)
        return node;
    build_refuse(b, node, "expected a mapping (key: value), found %s", yaml_found(node, found, sizeof found));
    return NULL;
}

static void unknown_keys(struct build *b, const struct yaml *map, const struct setting_group *group,
                         const char *const *more, size_t n_more)
{
    auto_free const char **words = mem_array(group->n + n_more, sizeof *words);
    size_t n = 0;

    for (size_t i = 0; i < n_more; i++)
        words[n++] = more[i];
    for (size_t i = 0; i < group->n; i++)
        words[n++] = group->settings[i].param.name;
    for (const struct yaml *node = map->first; node != NULL; node = node->next) {
        size_t i = 0;
        while (i < n && strcmp(words[i], node->key) != 0)
            i++;
        if (i == n)
            build_unknown_key(b, node, words, n);
    }
}

char *build_nearest_choice(const struct runner_param *param, const struct yaml *node)
{
    const char *nearest = NULL;
    size_t n = 0;

    while (param->choices != NULL && param->choices[n] != NULL)
        n++;
    if (n > 0 && node->type == YAML_TEXT)
        nearest = text_nearest(node->text, param->choices, n);
    return nearest != NULL ? mem_printf("; did you mean '%s'?", nearest) : mem_dup("");
}

static void refuse_value(struct build *b, const struct yaml *node, const struct setting *setting)
{
    auto_str struct str expected = STR_INIT;
    auto_free char *nearest = NULL;
    char found[80];

    if (setting->expected != NULL)
        str_add(&expected, setting->expected);
    else
        value_expected(&setting->param, false, &expected);
    yaml_found(node, found, sizeof found);
    nearest = build_nearest_choice(&setting->param, node);
    build_refuse(b, node, "expected %s, found %s%s", str_text(&expected),
                 setting->param.flags & RUNNER_P_SECRET && node->type == YAML_TEXT ? "something else" : found, nearest);
}

static void store(const struct setting *setting, const struct runner_value *value, void *base)
{
    char *member = (char *)base + setting->offset;
    bool is_text = setting->param.type == RUNNER_T_STRING || setting->param.type == RUNNER_T_PATH;

    if (is_text && setting->param.choices == NULL) {
        memcpy(member, &value->text, sizeof value->text);
        return;
    }
    *(int64_t *)(void *)member = value->number + setting->base;
    free((char *)value->text);
}

static void setting_read(struct build *b, const struct yaml *map, const struct setting *setting, void *base)
{
    const struct yaml *node = yaml_get(map, setting->param.name);
    auto_free char *key = yaml_path(map, setting->param.name);
    const char *text = node != NULL ? node->text : setting->param.dflt;
    struct runner_value value;

    if (text == NULL && node == NULL) {
        if (setting->param.flags & RUNNER_P_REQUIRED)
            report_add(&b->report, &map->at, key, "expected %s (%s), found nothing", setting->expected,
                       setting->param.doc);
        return;
    }
    if (text == NULL || !value_parse(&setting->param, NULL, text, &value)) {
        refuse_value(b, node, setting);
        return;
    }
    if (setting->is_good != NULL && !setting->is_good(text)) {
        refuse_value(b, node, setting);
        free((char *)value.text);
        return;
    }
    store(setting, &value, base);
    build_origin(b, key, node);
}

void settings_read(struct build *b, const struct yaml *map, const struct setting_group *group, void *base,
                   const char *const *more, size_t n_more)
{
    unknown_keys(b, map, group, more, n_more);
    for (size_t i = 0; i < group->n; i++)
        setting_read(b, map, &group->settings[i], base);
}

void settings_free(const struct setting_group *group, void *base)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct setting *setting = &group->settings[i];
        char *text;

        if ((setting->param.type != RUNNER_T_STRING && setting->param.type != RUNNER_T_PATH) ||
            setting->param.choices != NULL)
            continue;
        memcpy(&text, (char *)base + setting->offset, sizeof text);
        if (text != NULL)
            explicit_bzero(text, strlen(text));
        free(text);
    }
}
