/* What `runner-ch --dump-plugin KIND/NAME` prints. */
#include <inttypes.h>
#include <string.h>

#include "core/plugin-check.h"
#include "core/value.h"

static const char *threads_name(uint32_t threads)
{
    switch (threads) {
    case RUNNER_PARALLEL:
        return "parallel";
    case RUNNER_PER_INSTANCE:
        return "per-instance";
    default:
        return "serial";
    }
}

static void caps_add(const struct runner_plugin *desc, struct str *out)
{
    const char *separator = "";

    str_add(out, "caps=");
    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name = plugin_cap_name(desc->kind, bit);
        if (!(desc->caps >> bit & 1))
            continue;
        str_add(out, separator);
        if (name != NULL)
            str_add(out, name);
        else
            str_addf(out, "bit%u", bit);
        separator = ",";
    }
    str_add_char(out, '\n');
}

static void ops_add(const struct plugin *plugin, struct str *out)
{
    size_t n;
    const struct plugin_op *ops = plugin_ops_of(plugin->desc.kind, &n);

    for (size_t i = 0; i < n; i++)
        str_addf(out, "op.%s=%s\n", ops[i].name, plugin_has_op(plugin, &ops[i]) ? "yes" : "no");
}

static void flags_add(uint32_t flags, struct str *out)
{
    static const char *const names[] = {"required", "secret", "repeat"};
    const char *separator = "";

    for (unsigned bit = 0; bit < ARRAY_LEN(names); bit++)
        if (flags >> bit & 1) {
            str_addf(out, "%s%s", separator, names[bit]);
            separator = ",";
        }
}

static void param_add(const struct runner_param *param, struct str *out)
{
    str_addf(out, "param.%s.type=%s\n", param->name, value_type_name(param->type));
    str_addf(out, "param.%s.flags=", param->name);
    flags_add(param->flags, out);
    str_add_char(out, '\n');
    if (param->dflt != NULL)
        str_addf(out, "param.%s.default=%s\n", param->name, param->dflt);
    if (param->min != 0 || param->max != 0)
        str_addf(out, "param.%s.min=%" PRId64 "\nparam.%s.max=%" PRId64 "\n", param->name, param->min, param->name,
                 param->max);
    if (param->choices != NULL) {
        str_addf(out, "param.%s.choices=", param->name);
        for (size_t i = 0; param->choices[i] != NULL; i++)
            str_addf(out, "%s%s", i > 0 ? "," : "", param->choices[i]);
        str_add_char(out, '\n');
    }
    if (param->doc != NULL)
        str_addf(out, "param.%s.doc=%s\n", param->name, param->doc);
}

void loader_dump(const struct plugin *plugin, struct str *ret_text)
{
    const struct runner_plugin *desc = &plugin->desc;

    str_addf(ret_text, "path=%s\nkind=%s\nname=%s\nversion=%s\nsummary=%s\n", plugin->path,
             loader_kind_name(desc->kind), desc->name, desc->version, desc->summary);
    str_addf(ret_text, "api=%d.%d\nsize=%" PRIu32 "\nthreads=%s\n", desc->api_major, desc->api_minor, desc->size,
             threads_name(desc->threads));
    caps_add(desc, ret_text);
    str_addf(ret_text, "param_size=%" PRIu32 "\nn_params=%" PRIu32 "\nops_size=%" PRIu32 "\n", desc->param_size,
             desc->n_params, desc->ops_size);
    str_addf(ret_text, "load=%s\ncheck=%s\ndiagnose=%s\n", desc->load != NULL ? "yes" : "no",
             desc->check != NULL ? "yes" : "no", desc->diagnose != NULL ? "yes" : "no");
    ops_add(plugin, ret_text);
    for (uint32_t i = 0; i < desc->n_params; i++)
        param_add(&plugin->params[i], ret_text);
}
