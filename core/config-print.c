/* What --print-config shows. */
#include <string.h>

#include "core/config-build.h"
#include "core/util/json.h"

static const char *origin_of(const struct config *config, const char *key)
{
    for (size_t i = 0; i < config->n_origins; i++)
        if (strcmp(config->origins[i].key, key) == 0)
            return config->origins[i].text;
    return NULL;
}

/* Plain where YAML reads it back as the same text, else in double quotes, JSON's way. */
static void text_add(struct str *out, const char *text)
{
    size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-");
    auto_str struct str quoted = STR_INIT;

    if (plain > 0 && text[plain] == '\0' && text[0] != '-' && strcmp(text, "null") != 0 && strcmp(text, "...") != 0) {
        str_add(out, text);
    } else {
        json_add_text(&quoted, NULL, text);
        str_add(out, str_text(&quoted));
    }
}

static void origin_add(const struct config *config, const char *key, struct str *out)
{
    const char *origin = origin_of(config, key);

    str_addf(out, " # %s\n", origin != NULL ? origin : "default");
}

static void setting_add(const struct config *config, const struct setting *setting, const void *base, const char *key,
                        int indent, struct str *out)
{
    const struct runner_param *param = &setting->param;
    bool is_text = (param->type == RUNNER_T_STRING || param->type == RUNNER_T_PATH) && param->choices == NULL;
    const char *member = (const char *)base + setting->offset;
    const char *text = NULL;
    int64_t number;

    if (is_text)
        memcpy(&text, member, sizeof text);
    if (is_text && text == NULL) {
        str_addf(out, "%*s# %s: not set\n", indent, "", param->name);
        return;
    }
    str_addf(out, "%*s%s: ", indent, "", param->name);
    if (is_text) {
        text_add(out, param->flags & RUNNER_P_SECRET ? "***" : text);
    } else {
        memcpy(&number, member, sizeof number);
        if (param->choices != NULL)
            str_add(out, param->choices[number - setting->base]);
        else
            value_format(param->type, number, out);
    }
    origin_add(config, key, out);
}

static void group_add(const struct config *config, const struct setting_group *group, const void *base,
                      const char *prefix, int indent, struct str *out)
{
    for (size_t i = 0; i < group->n; i++) {
        auto_free char *key = mem_printf("%s%s", prefix, group->settings[i].param.name);
        setting_add(config, &group->settings[i], base, key, indent, out);
    }
}

static void api_add(const struct config *config, const struct setting_group *group, struct str *out)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct setting *setting = &group->settings[i];
        auto_free char *key = mem_printf("api.%s", setting->param.name);

        /* From a file: only its name, for the two exclude each other. */
        if (strcmp(setting->param.name, "token") == 0 && config->api.token_file != NULL)
            continue;
        setting_add(config, setting, &config->api, key, 2, out);
    }
}

static void value_add(const struct config *config, const struct runner_param *param, const struct runner_value *value,
                      const char *prefix, size_t index, struct str *out)
{
    bool is_list = param->flags & RUNNER_P_REPEAT;
    auto_free char *key = mem_printf("%s.%s", prefix, param->name);
    auto_free char *entry_key = mem_printf("%s[%zu]", key, index);

    if (is_list && index == 0)
        str_addf(out, "      %s:\n", param->name);
    if (is_list)
        str_add(out, "        - ");
    else
        str_addf(out, "      %s: ", param->name);
    text_add(out, param->flags & RUNNER_P_SECRET ? "***" : value->text);
    origin_add(config, is_list && origin_of(config, entry_key) != NULL ? entry_key : key, out);
}

static void section_add(const struct config *config, const struct config_section *section, const char *prefix,
                        const char *before, struct str *out)
{
    const struct plugin *plugin = section->plugin;
    auto_free char *key = mem_printf("%s.plugin", prefix);

    str_addf(out, "%splugin: %s", before, plugin->desc.name);
    origin_add(config, key, out);
    for (uint32_t i = 0; i < plugin->desc.n_params; i++) {
        size_t index = 0;
        for (size_t v = 0; v < section->n_values; v++)
            if (strcmp(section->values[v].name, plugin->params[i].name) == 0)
                value_add(config, &plugin->params[i], &section->values[v], prefix, index++, out);
        if (index == 0)
            str_addf(out, "      # %s: not set\n", plugin->params[i].name);
    }
}

/* One, or the candidates as a list. */
static void sections_add(const struct config *config, size_t index, uint32_t kind, struct str *out)
{
    const struct config_section *section = &config->hosts[index].sections[kind];
    auto_free char *key = mem_printf("hosts[%zu].%s", index, loader_kind_name(kind));
    size_t i = 0;

    if (section->plugin == NULL)
        return;
    str_addf(out, "    %s:\n", loader_kind_name(kind));
    if (section->next == NULL) {
        section_add(config, section, key, "      ", out);
        return;
    }
    for (; section != NULL; section = section->next) {
        auto_free char *entry = mem_printf("%s[%zu]", key, i++);
        section_add(config, section, entry, "    - ", out);
    }
}

static void host_add(const struct config *config, size_t index, struct str *out)
{
    const struct config_host *host = &config->hosts[index];
    auto_free char *prefix = mem_printf("hosts[%zu].", index);
    auto_free char *defaults = mem_printf("hosts[%zu].defaults.", index);
    auto_free char *capacity = mem_printf("hosts[%zu].capacity.", index);
    size_t start = out->len;

    group_add(config, &config_host_group, host, prefix, 4, out);
    out->ptr[start + 2] = '-'; /* the name is the first key */
    str_add(out, "    defaults:\n");
    group_add(config, &config_host_defaults, host, defaults, 6, out);
    str_add(out, "    capacity:\n");
    group_add(config, &config_host_capacity, &host->capacity, capacity, 6, out);
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        sections_add(config, index, kind, out);
}

void config_print(const struct config *config, struct str *ret_text)
{
    str_add(ret_text, "listen:\n");
    for (size_t i = 0; i < config->n_listen; i++) {
        auto_free char *key = mem_printf("listen[%zu]", i);
        str_add(ret_text, "  - ");
        text_add(ret_text, config->listen[i].text);
        origin_add(config, key, ret_text);
    }
    for (const struct setting_group *group = config_groups; group->n > 0; group++) {
        const void *base = (const char *)config + group->offset;
        auto_free char *prefix = group->key != NULL ? mem_printf("%s.", group->key) : mem_dup("");
        if (group->key != NULL)
            str_addf(ret_text, "%s:\n", group->key);
        if (base == &config->api)
            api_add(config, group, ret_text);
        else
            group_add(config, group, base, prefix, group->key != NULL ? 2 : 0, ret_text);
    }
    str_add(ret_text, "hosts:\n");
    for (size_t i = 0; i < config->n_hosts; i++)
        host_add(config, i, ret_text);
}
