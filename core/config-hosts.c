/* The hosts: list. */
#include "core/config-build.h"

#include <inttypes.h>
#include <string.h>

#include "core/uids.h"

static bool is_taken(const struct config *config, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (config->hosts[i].name != NULL && strcmp(config->hosts[i].name, name) == 0)
            return true;
    return false;
}

/* A default that a request could not ask for itself. */
static void ceiling_check(struct build *b, const struct yaml *node, const char *name, int64_t value, int64_t limit)
{
    const struct yaml *defaults = yaml_get(node, "defaults");
    const struct yaml *at = yaml_get(defaults, name);

    if (value > limit && limit > 0)
        build_refuse(b, at != NULL ? at : defaults, "expected at most limits.%s, which is %" PRId64 ", found %" PRId64,
                     name, limit, value);
}

static void host_read(struct build *b, struct yaml *node, size_t index)
{
    static const char *const more[] = {"defaults", "capacity", "transport", "vmm", "disk", "network", "ipam", "storage"};
    struct config_host *host = &b->config->hosts[index];
    const struct config_limits *limits = &b->config->limits;
    struct yaml *defaults, *capacity;

    settings_read(b, node, &config_host_group, host, more, ARRAY_LEN(more));
    if (host->name != NULL && is_taken(b->config, index, host->name))
        build_refuse(b, yaml_get(node, "name"), "expected each host name once, found '%s' again", host->name);
    if (host->uids != NULL)
        (void)uids_parse(host->uids, &host->first_uid, &host->n_uids);
    defaults = build_map(b, node, "defaults");
    if (defaults != NULL) {
        settings_read(b, defaults, &config_host_defaults, host, NULL, 0);
        ceiling_check(b, node, "cpus", host->cpus, limits->cpus);
        ceiling_check(b, node, "memory_mb", host->memory_mb, limits->memory_mb);
        ceiling_check(b, node, "disk_gb", host->disk_gb, limits->disk_gb);
    }
    capacity = build_map(b, node, "capacity");
    if (capacity != NULL)
        settings_read(b, capacity, &config_host_capacity, &host->capacity, NULL, 0);
    host->capacity.sandboxes = limits->sandboxes;
    if (b->config->loader != NULL)
        for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
            section_read(b, node, host, kind);
}

void hosts_read(struct build *b)
{
    struct yaml *list = yaml_get(b->root, "hosts");
    struct config *config = b->config;
    char found[80];
    size_t n = 0;

    if (list->type != YAML_LIST || list->first == NULL) {
        build_refuse(b, list, "expected a list of hosts, found %s",
                     list->type == YAML_LIST ? "an empty one" : yaml_found(list, found, sizeof found));
        return;
    }
    for (const struct yaml *node = list->first; node != NULL; node = node->next)
        n++;
    if (n > CONFIG_HOSTS_MAX) {
        build_refuse(b, list, "expected at most %d hosts, found %zu", CONFIG_HOSTS_MAX, n);
        return;
    }
    config->hosts = mem_array(n, sizeof *config->hosts);
    config->n_hosts = n;
    n = 0;
    for (struct yaml *node = list->first; node != NULL; node = node->next, n++)
        if (node->type == YAML_MAP)
            host_read(b, node, n);
        else
            build_refuse(b, node, "expected a mapping (name: ..., root: ..., ...), found %s",
                         yaml_found(node, found, sizeof found));
}

void hosts_free(struct config *config)
{
    for (size_t i = 0; i < config->n_hosts; i++) {
        struct config_host *host = &config->hosts[i];
        settings_free(&config_host_group, host);
        settings_free(&config_host_defaults, host);
        for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
            section_free(&host->sections[kind]);
    }
    free(config->hosts);
}
