#include "core/plugin-check.h"

#include <inttypes.h>
#include <string.h>

#include "core/util/text.h"
#include "core/value.h"

#define SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
#define PLUGIN_SIZE_1_0            SIZE_THROUGH(struct runner_plugin, destroy)
#define PARAM_SIZE_1_0             SIZE_THROUGH(struct runner_param, choices)
#define SIZE_SANE                  65536

struct check {
    const char *path;
    uint32_t kind;
    const char *name;
    struct runner_error *err;
};

#define REFUSE(c, format, ...) fail((c)->err, RUNNER_E_NOTSUP, 0, "plugin '%s': " format, (c)->path, __VA_ARGS__)

static int size_check(const struct check *c, const char *what, uint32_t size, size_t smallest)
{
    if (size < smallest || size > SIZE_SANE)
        return REFUSE(c, "wanted a %s of %zu to %d bytes, found %" PRIu32, what, smallest, SIZE_SANE, size);
    return 0;
}

/* What must hold before any other member may be read. */
static int head_check(const struct check *c, const struct runner_plugin *found)
{
    if (found == NULL)
        return REFUSE(c, "wanted a descriptor, found %s", "NULL");
    if (found->magic != RUNNER_MAGIC)
        return REFUSE(c, "wanted magic 0x%08x, found 0x%08" PRIx32, RUNNER_MAGIC, found->magic);
    if (found->api_major != RUNNER_API_MAJOR)
        return REFUSE(c, "wanted API major %d, found %d.%d", RUNNER_API_MAJOR, found->api_major, found->api_minor);
    return size_check(c, "descriptor", found->size, PLUGIN_SIZE_1_0);
}

static int identity_check(const struct check *c, const struct runner_plugin *desc)
{
    const char *kind = loader_kind_name(desc->kind);

    if (desc->kind != c->kind)
        return REFUSE(c, "wanted kind %s (%" PRIu32 "), found %s (%" PRIu32 ")", loader_kind_name(c->kind), c->kind,
                      kind != NULL ? kind : "unknown", desc->kind);
    if (desc->name == NULL || strcmp(desc->name, c->name) != 0)
        return REFUSE(c, "wanted name '%s', the same as the file's, found '%s'", c->name,
                      desc->name != NULL ? desc->name : "");
    if (desc->threads != RUNNER_SERIAL && desc->threads != RUNNER_PER_INSTANCE && desc->threads != RUNNER_PARALLEL)
        return REFUSE(c, "wanted threads %d, %d or %d, found %" PRIu32, RUNNER_SERIAL, RUNNER_PER_INSTANCE,
                      RUNNER_PARALLEL, desc->threads);
    if (desc->create == NULL || desc->destroy == NULL)
        return REFUSE(c, "wanted the function %s(), found NULL", desc->create == NULL ? "create" : "destroy");
    return 0;
}

static int ops_copy(const struct check *c, struct plugin *plugin)
{
    size_t smallest, today, n;
    const struct plugin_op *ops = plugin_ops_of(c->kind, &n);

    plugin_ops_sizes(c->kind, &smallest, &today);
    if (plugin->desc.ops == NULL)
        return REFUSE(c, "wanted operations of kind %s, found NULL", loader_kind_name(c->kind));
    if (size_check(c, "table of operations", plugin->desc.ops_size, smallest) < 0)
        return -1;
    memcpy(&plugin->ops, plugin->desc.ops, plugin->desc.ops_size < today ? plugin->desc.ops_size : today);
    plugin->desc.ops = &plugin->ops;
    for (size_t i = 0; i < n; i++)
        if (!plugin_has_op(plugin, &ops[i]) && (ops[i].needs_cap == 0 || (plugin->desc.caps & ops[i].needs_cap)))
            return REFUSE(c, "wanted the operation %s(), found NULL", ops[i].name);
    return 0;
}

static bool is_param_name(const char *name)
{
    if (name == NULL || name[0] < 'a' || name[0] > 'z' || strlen(name) > 40)
        return false;
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
        return false;
    return strcmp(name, "plugin") != 0;
}

static int dflt_check(const struct check *c, const struct runner_param *param)
{
    auto_str struct str expected = STR_INIT;
    struct runner_value value;

    if (param->dflt == NULL)
        return 0;
    if (!value_parse(param, "/", param->dflt, &value)) {
        value_expected(param, true, &expected);
        return REFUSE(c, "parameter '%s': wanted as default %s, found '%s'", param->name, str_text(&expected),
                      param->dflt);
    }
    free((char *)value.text);
    return 0;
}

static int param_check(const struct check *c, const struct runner_param *params, size_t i)
{
    const struct runner_param *param = &params[i];

    if (!is_param_name(param->name))
        return REFUSE(c, "parameter %zu: wanted a name like [a-z][a-z0-9_]* other than 'plugin', found '%s'", i,
                      param->name != NULL ? param->name : "");
    if (value_type_name(param->type) == NULL)
        return REFUSE(c, "parameter '%s': wanted type %d to %d, found %" PRIu32, param->name, RUNNER_T_STRING,
                      RUNNER_T_PATH, param->type);
    if (param->choices != NULL && param->type != RUNNER_T_STRING)
        return REFUSE(c, "parameter '%s': wanted choices with type string only, found type %s", param->name,
                      value_type_name(param->type));
    if (param->min > param->max)
        return REFUSE(c, "parameter '%s': wanted min <= max, found %" PRId64 " > %" PRId64, param->name, param->min,
                      param->max);
    for (size_t other = 0; other < i; other++)
        if (strcmp(params[other].name, param->name) == 0)
            return REFUSE(c, "parameter '%s': wanted each name once, found it again", param->name);
    return dflt_check(c, param);
}

static int params_copy(const struct check *c, struct plugin *plugin)
{
    const char *from = (const char *)plugin->desc.params;
    uint32_t n = plugin->desc.n_params, step = plugin->desc.param_size;

    if (n > LOADER_PARAMS_MAX)
        return REFUSE(c, "wanted at most %d parameters, found %" PRIu32, LOADER_PARAMS_MAX, n);
    if (n > 0 && from == NULL)
        return REFUSE(c, "wanted %" PRIu32 " parameters, found NULL", n);
    if (n > 0 && size_check(c, "parameter", step, PARAM_SIZE_1_0) < 0)
        return -1;
    if (n > 0 && step % _Alignof(struct runner_param) != 0)
        return REFUSE(c, "wanted a parameter size that is a multiple of %zu, found %" PRIu32,
                      _Alignof(struct runner_param), step);
    plugin->params = mem_array(n, sizeof *plugin->params);
    plugin->desc.params = plugin->params;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(&plugin->params[i], from + (size_t)i * step,
               step < sizeof *plugin->params ? step : sizeof *plugin->params);
        if (param_check(c, plugin->params, i) < 0)
            return -1;
    }
    return 0;
}

int plugin_copy(const struct runner_plugin *found, const char *path, uint32_t kind, const char *name,
                struct plugin *ret, struct runner_error *err)
{
    const struct check c = {path, kind, name, err};
    struct runner_plugin *desc = &ret->desc;

    if (head_check(&c, found) < 0)
        return -1;
    memset(desc, 0, sizeof *desc);
    memcpy(desc, found, found->size < sizeof *desc ? found->size : sizeof *desc);
    if (identity_check(&c, desc) < 0 || ops_copy(&c, ret) < 0 || params_copy(&c, ret) < 0)
        return -1;
    desc->version = desc->version != NULL ? desc->version : "";
    desc->summary = desc->summary != NULL ? desc->summary : "";
    return 0;
}
