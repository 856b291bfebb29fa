/* The section of one plugin in a host: its name, and its parameters as the plugin's own table says. */
#include "core/config-build.h"

#include <string.h>

#include "core/util/text.h"

/* What a host has that says nothing of a kind. Parameters which the plugin does not know are left out. */
static const struct {
    const char *plugin;
    const char *params[3][2];
} defaults[LOADER_KINDS + 1] = {
    [RUNNER_TRANSPORT] = {"local", {{NULL}}},
    [RUNNER_DISK] = {"qcow2", {{NULL}}},
    [RUNNER_NETWORK] = {"bridge", {{"bridge", "br0"}}},
    [RUNNER_IPAM] = {"static-pool", {{"range", "10.0.0.2-10.0.0.254"}, {"gateway", "10.0.0.1/24"}}},
    [RUNNER_STORAGE] = {"oci", {{NULL}}}, /* where it is installed */
};

/* In order of preference; those that are not installed are left out. */
static const char *const default_vmms[] = {"cloud-hypervisor", "qemu"};

static struct yaml *plugin_map(const char *name)
{
    struct yaml *map = yaml_new(YAML_MAP, &config_default_place, NULL);

    yaml_put(map, "plugin", yaml_new(YAML_TEXT, &config_default_place, name));
    return map;
}

static void default_candidates(struct build *b, struct yaml *host_node)
{
    struct yaml *list = yaml_new(YAML_LIST, &config_default_place, NULL);

    for (size_t i = 0; i < ARRAY_LEN(default_vmms); i++)
        if (i + 1 == ARRAY_LEN(default_vmms) || loader_has(b->config->loader, RUNNER_VMM, default_vmms[i]))
            yaml_put(list, NULL, plugin_map(default_vmms[i]));
    yaml_put(host_node, loader_kind_name(RUNNER_VMM), list);
}

static void default_section(struct yaml *host_node, uint32_t kind)
{
    struct yaml *map = plugin_map(defaults[kind].plugin);

    for (int i = 0; i < 3 && defaults[kind].params[i][0] != NULL; i++)
        yaml_put(map, defaults[kind].params[i][0],
                 yaml_new(YAML_TEXT, &config_default_place, defaults[kind].params[i][1]));
    yaml_put(host_node, loader_kind_name(kind), map);
}

/* ---- which plugin ---- */

/* "local, ssh": the names in the directory, and which of them is meant probably. */
static void refuse_absent(struct build *b, const struct yaml *node, uint32_t kind)
{
    auto_str struct str names = STR_INIT, list = STR_INIT;
    const char *words[64];
    size_t n = 0;
    const char *nearest;

    loader_list(b->config->loader, kind, &names);
    for (char *word = names.ptr, *end; word != NULL && *word != '\0' && n < ARRAY_LEN(words); word = end + 1) {
        end = strchr(word, '\n');
        *end = '\0';
        words[n++] = word;
    }
    for (size_t i = 0; i < n; i++)
        str_addf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
    nearest = text_nearest(node->text, words, n);
    build_refuse(b, node, "expected a %s plugin (%s), found '%s': no file '%s/%s/%s.so'%s%s%s", loader_kind_name(kind),
                 n > 0 ? str_text(&list) : "none is installed", node->text, b->config->plugin_dir,
                 loader_kind_name(kind), node->text, nearest != NULL ? "; did you mean '" : "",
                 nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

static const struct plugin *plugin_of(struct build *b, const struct yaml *section, uint32_t kind)
{
    const struct yaml *node = yaml_get(section, "plugin");
    struct runner_error err = ERROR_INIT;
    const struct plugin *plugin;
    auto_free char *key = yaml_path(section, "plugin");
    char found[80];

    if (node == NULL) {
        report_add(&b->report, &section->at, key, "expected the name of a %s plugin, found nothing",
                   loader_kind_name(kind));
        return NULL;
    }
    if (node->type != YAML_TEXT || !text_is_plugin_name(node->text)) {
        build_refuse(b, node, "expected the name of a %s plugin (1 to 32 of a-z, 0-9 and '-'), found %s",
                     loader_kind_name(kind), yaml_found(node, found, sizeof found));
        return NULL;
    }
    if (loader_open(b->config->loader, kind, node->text, &plugin, &err) == 0) {
        build_origin(b, key, node);
        return plugin;
    }
    if (err.code == RUNNER_E_NOTFOUND && err.sys_errno == ENOENT)
        refuse_absent(b, node, kind);
    else
        build_refuse(b, node, "%s", err.message);
    return NULL;
}

/* ---- its parameters ---- */

static void unknown_params(struct build *b, const struct yaml *section, const struct plugin *plugin)
{
    const char *words[LOADER_PARAMS_MAX + 1] = {"plugin"};
    size_t n = plugin->desc.n_params + 1;

    for (size_t i = 1; i < n; i++)
        words[i] = plugin->params[i - 1].name;
    for (const struct yaml *node = section->first; node != NULL; node = node->next) {
        size_t i = 0;
        while (i < n && strcmp(words[i], node->key) != 0)
            i++;
        if (i == n && node->at.source != config_default_place.source)
            build_unknown_key(b, node, words, n);
    }
}

static void value_add(struct config_section *section, const struct runner_value *value)
{
    section->values = mem_grow(section->values, section->n_values + 1, sizeof *section->values);
    section->values[section->n_values++] = *value;
}

static void value_read(struct build *b, const struct yaml *node, const struct runner_param *param, const char *root,
                       struct config_section *section)
{
    auto_free char *key = yaml_path(node, NULL);
    auto_str struct str expected = STR_INIT;
    struct runner_value value;
    auto_free char *nearest = NULL;
    char found[80];

    if (node->type == YAML_TEXT && value_parse(param, root, node->text, &value)) {
        value_add(section, &value);
        build_origin(b, key, node);
        return;
    }
    nearest = build_nearest_choice(param, node);
    value_expected(param, true, &expected);
    yaml_found(node, found, sizeof found);
    build_refuse(b, node, "expected %s, found %s%s", str_text(&expected),
                 param->flags & RUNNER_P_SECRET && node->type == YAML_TEXT ? "something else" : found, nearest);
}

static void default_read(struct build *b, const struct yaml *node, const struct runner_param *param, const char *root,
                         struct config_section *section)
{
    auto_free char *key = yaml_path(node, param->name);
    struct runner_value value;

    if (param->dflt != NULL) {
        if (value_parse(param, root, param->dflt, &value)) /* always: the loader checked it */
            value_add(section, &value);
        build_origin(b, key, NULL);
    } else if (param->flags & RUNNER_P_REQUIRED) {
        report_add(&b->report, &node->at, key, "expected a value (%s), found nothing",
                   param->doc != NULL ? param->doc : value_type_name(param->type));
    }
}

static void param_read(struct build *b, const struct yaml *map, const struct runner_param *param, const char *root,
                       struct config_section *section)
{
    const struct yaml *node = yaml_get(map, param->name);

    if (node == NULL || (node->type == YAML_LIST && node->first == NULL && param->flags & RUNNER_P_REPEAT &&
                         param->flags & RUNNER_P_REQUIRED)) {
        default_read(b, map, param, root, section);
    } else if (node->type == YAML_LIST && param->flags & RUNNER_P_REPEAT) {
        for (const struct yaml *entry = node->first; entry != NULL; entry = entry->next)
            value_read(b, entry, param, root, section);
    } else {
        value_read(b, node, param, root, section);
    }
}

/* map: NULL when it is something else, which was reported. */
static void plugin_read(struct build *b, const struct yaml *map, const struct config_host *host, uint32_t kind,
                        struct config_section *section)
{
    auto_str struct str where = STR_INIT;
    auto_free char *path = NULL;

    if (map == NULL)
        return;
    section->plugin = plugin_of(b, map, kind);
    path = yaml_path(map, NULL);
    place_add(&where, &map->at);
    str_addf(&where, ": %s", path);
    section->where = str_steal(&where);
    if (section->plugin == NULL)
        return;
    unknown_params(b, map, section->plugin);
    for (uint32_t i = 0; i < section->plugin->desc.n_params; i++)
        param_read(b, map, &section->plugin->params[i], host->root, section);
}

static bool is_named_before(const struct config_section *first, const struct config_section *section)
{
    for (; first != section; first = first->next)
        if (first->plugin != NULL && first->plugin == section->plugin)
            return true;
    return false;
}

/* A list of candidates in order of preference. */
static void candidates_read(struct build *b, const struct yaml *list, const struct config_host *host, uint32_t kind,
                            struct config_section *first)
{
    struct config_section *section = NULL;
    char found[80];
    int n = 0;

    if (list->first == NULL)
        build_refuse(b, list, "expected a mapping or a list of mappings, found an empty list");
    for (const struct yaml *node = list->first; node != NULL; node = node->next) {
        if (node->type != YAML_MAP) {
            build_refuse(b, node, "expected a mapping (plugin: ...), found %s", yaml_found(node, found, sizeof found));
            continue;
        }
        if (++n > CONFIG_VMMS_MAX) {
            build_refuse(b, node, "expected at most %d candidates, found more", CONFIG_VMMS_MAX);
            return;
        }
        section = section == NULL ? first : (section->next = mem_alloc(sizeof *section));
        plugin_read(b, node, host, kind, section);
        if (is_named_before(first, section))
            build_refuse(b, node, "expected each plugin once, found '%s' again", section->plugin->desc.name);
    }
}

void section_read(struct build *b, struct yaml *host_node, struct config_host *host, uint32_t kind)
{
    const struct plugin *network = host->sections[RUNNER_NETWORK].plugin;
    const struct yaml *node = yaml_get(host_node, loader_kind_name(kind));

    if (node == NULL && kind == RUNNER_IPAM && network != NULL && network->desc.caps & RUNNER_NETWORK_CAP_OWN_ADDRESS)
        return;
    if (node == NULL && kind == RUNNER_STORAGE && !loader_has(b->config->loader, kind, defaults[kind].plugin))
        return;
    if (node != NULL && kind == RUNNER_STORAGE && node->type == YAML_TEXT && strcmp(node->text, "none") == 0)
        return;
    if (node == NULL && kind == RUNNER_VMM)
        default_candidates(b, host_node);
    else if (node == NULL)
        default_section(host_node, kind);
    node = yaml_get(host_node, loader_kind_name(kind));
    if (kind == RUNNER_VMM && node->type == YAML_LIST)
        candidates_read(b, node, host, kind, &host->sections[kind]);
    else
        plugin_read(b, build_map(b, host_node, loader_kind_name(kind)), host, kind, &host->sections[kind]);
}

void section_free(struct config_section *section)
{
    for (size_t i = 0; i < section->n_values; i++) {
        char *text = (char *)section->values[i].text;
        explicit_bzero(text, strlen(text));
        free(text);
    }
    free(section->values);
    free(section->where);
    if (section->next != NULL)
        section_free(section->next);
    free(section->next);
}
