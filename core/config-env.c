/* The environment and the command line, put into the tree as if the file had said it. */
#include "core/config-build.h"

#include <string.h>

#include "core/util/text.h"

static const struct {
    const char *names[2]; /* the first one that is set counts */
    const char *group, *key;
} variables[] = {
    {{"DAYTONA_API_URL", "SERVER_URL"}, "api", "url"},
    {{"DAYTONA_RUNNER_TOKEN", "API_TOKEN"}, "api", "token"},
    {{"API_VERSION", NULL}, "api", "version"},
    {{"HEALTHCHECK_INTERVAL", NULL}, "api", "healthcheck_interval"},
    {{"INITIALIZE_DAEMON_TELEMETRY", NULL}, "api", "init_daemon"},
    {{"LOG_LEVEL", NULL}, "log", "level"},
    {{"OTEL_EXPORTER_OTLP_ENDPOINT", NULL}, "otlp", "endpoint"},
    {{"OTEL_EXPORTER_OTLP_HEADERS", NULL}, "otlp", "headers"},
    {{"OTEL_TRACING_ENABLED", NULL}, "otlp", "traces"},
    {{"LOG_FORMAT", NULL}, "log", "format"},
    {{"RUNNER_DOMAIN", NULL}, NULL, "domain"},
    {{"RUNNER_PLUGIN_DIR", NULL}, NULL, "plugin_dir"},
};

static const struct {
    const char *name, *key;
} host_variables[] = {
    {"CH_DEFAULT_CPUS", "cpus"},
    {"CH_DEFAULT_MEMORY_MB", "memory_mb"},
    {"CH_DEFAULT_DISK_GB", "disk_gb"},
};

extern char **environ;

/* Set and not empty, as docker's env files leave it. */
static const char *env_get(const struct build *b, const char *name)
{
    const char *const *env = b->options->env != NULL ? b->options->env : (const char *const *)environ;
    size_t len = strlen(name);

    for (; *env != NULL; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return (*env)[len + 1] != '\0' ? *env + len + 1 : NULL;
    return NULL;
}

/* The map below parent, made when it is absent; NULL when the file has something else there: reported later. */
static struct yaml *map_at(struct yaml *parent, const char *key)
{
    struct yaml *map = key == NULL ? parent : yaml_get(parent, key);

    if (map == NULL) {
        map = yaml_new(YAML_MAP, &config_default_place, NULL);
        yaml_put(parent, key, map);
    }
    return map->type == YAML_MAP ? map : NULL;
}

static void put(struct yaml *map, const char *key, const char *source, const char *text)
{
    yaml_put(map, key, yaml_new(YAML_TEXT, &(struct place){source, 0, 0}, text));
}

/* "env NAME", which lives as long as the build. */
static const char *source_of(struct build *b, const char *name)
{
    char *source = mem_printf("env %s", name);

    b->sources = mem_grow(b->sources, b->n_sources + 1, sizeof *b->sources);
    b->sources[b->n_sources++] = source;
    return source;
}

static void overlay_plain(struct build *b)
{
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        const char *name = variables[i].names[0], *text = env_get(b, name);
        struct yaml *map;

        if (text == NULL && variables[i].names[1] != NULL) {
            name = variables[i].names[1];
            text = env_get(b, name);
        }
        map = text != NULL ? map_at(b->root, variables[i].group) : NULL;
        if (map == NULL)
            continue;
        put(map, variables[i].key, source_of(b, name), text);
        if (strcmp(variables[i].key, "token") == 0)
            yaml_remove(map, "token_file");
    }
}

/* API_PORT: the port of the first TCP address, or one more address. */
static void overlay_port(struct build *b)
{
    const char *port = env_get(b, "API_PORT"), *source, *colon;
    struct yaml *list = yaml_get(b->root, "listen"), *node;

    if (port == NULL || (list != NULL && list->type != YAML_LIST))
        return;
    source = source_of(b, "API_PORT");
    if (list == NULL) {
        list = yaml_new(YAML_LIST, &config_default_place, NULL);
        yaml_put(b->root, "listen", list);
        yaml_put(list, NULL, yaml_new(YAML_TEXT, &config_default_place, CONFIG_UNIX_DEFAULT));
    }
    for (node = list->first; node != NULL; node = node->next)
        if (node->type == YAML_TEXT && !text_starts(node->text, "unix:", NULL))
            break;
    colon = node != NULL ? strrchr(node->text, ':') : NULL;
    if (colon != NULL) {
        char *text = mem_printf("%.*s:%s", (int)(colon - node->text), node->text, port);
        free(node->text);
        node->text = text;
        node->at = (struct place){source, 0, 0};
    } else if (node == NULL) {
        auto_free char *text = mem_printf("0.0.0.0:%s", port);
        put(list, NULL, source, text);
    }
}

static void overlay_host(struct build *b, struct yaml *host)
{
    for (size_t i = 0; i < ARRAY_LEN(host_variables); i++) {
        const char *text = env_get(b, host_variables[i].name);
        struct yaml *map = text != NULL ? map_at(host, "defaults") : NULL;

        if (map != NULL)
            put(map, host_variables[i].key, source_of(b, host_variables[i].name), text);
    }
}

/* CH_SSH_HOST turns the first host into one that is reached by ssh. */
static void overlay_ssh(struct build *b, struct yaml *host)
{
    const char *target = env_get(b, "CH_SSH_HOST"), *key = env_get(b, "CH_SSH_KEY_PATH"), *source;
    struct yaml *section;

    if (target == NULL)
        return;
    source = source_of(b, "CH_SSH_HOST");
    section = yaml_new(YAML_MAP, &(struct place){source, 0, 0}, NULL);
    put(section, "plugin", source, "ssh");
    put(section, "host", source, target);
    if (key != NULL)
        put(section, "key", source_of(b, "CH_SSH_KEY_PATH"), key);
    yaml_put(host, "transport", section);
}

/* A file without hosts, or no file: one host, this machine. */
static struct yaml *hosts_of(struct build *b)
{
    struct yaml *hosts = yaml_get(b->root, "hosts"), *host;

    if (hosts == NULL) {
        hosts = yaml_new(YAML_LIST, &config_default_place, NULL);
        host = yaml_new(YAML_MAP, &config_default_place, NULL);
        put(host, "name", config_default_place.source, "local");
        yaml_put(b->root, "hosts", hosts);
        yaml_put(hosts, NULL, host);
    }
    return hosts;
}

/* From the command line or the environment the plugin directory may be relative to the current one. */
static void overlay_plugin_dir(struct build *b)
{
    struct yaml *node = yaml_get(b->root, "plugin_dir");
    auto_free char *cwd = NULL;
    char *text;

    if (b->options->plugin_dir != NULL) {
        put(b->root, "plugin_dir", "option --plugin-dir", b->options->plugin_dir);
        node = yaml_get(b->root, "plugin_dir");
    }
    if (node == NULL || node->at.line > 0 || node->type != YAML_TEXT || node->text[0] == '/')
        return;
    cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        return;
    text = mem_printf("%s/%s", cwd, node->text);
    free(node->text);
    node->text = text;
}

void env_overlay(struct build *b)
{
    struct yaml *hosts = hosts_of(b);

    overlay_plain(b);
    overlay_port(b);
    overlay_plugin_dir(b);
    if (hosts->type != YAML_LIST)
        return;
    for (struct yaml *host = hosts->first; host != NULL; host = host->next)
        if (host->type == YAML_MAP)
            overlay_host(b, host);
    if (hosts->first != NULL && hosts->first->type == YAML_MAP)
        overlay_ssh(b, hosts->first);
}
