/*
 * A plugin that is what its file's path says: copied to <dir>/<kind>/<name>.so it is a plugin of that kind and name,
 * with one parameter of each type; certain names make it a broken one. For tests of the loader and of the
 * configuration.
 */
#include <dlfcn.h>
#include <string.h>

#include "core/util/error.h"
#include "include/runner-plugin.h"

static const char *const modes[] = {"fast", "slow", "secure", NULL};

static struct runner_param params[] = {
    {"label", NULL, "any text", RUNNER_T_STRING, 0, 0, 0, NULL},
    {"mode", "fast", "how it works", RUNNER_T_STRING, 0, 0, 0, modes},
    {"count", "4", "how many", RUNNER_T_INT, 0, 1, 64, NULL},
    {"enabled", "false", "whether it works", RUNNER_T_BOOL, 0, 0, 0, NULL},
    {"cache", NULL, "cache, bytes", RUNNER_T_BYTES, 0, 1 << 20, INT64_C(1) << 40, NULL},
    {"timeout", "30s", "patience", RUNNER_T_MSEC, 0, 100, 3600000, NULL},
    {"dir", "images", "where things are", RUNNER_T_PATH, 0, 0, 0, NULL},
    {"secret_key", NULL, "password", RUNNER_T_STRING, RUNNER_P_SECRET, 0, 0, NULL},
    {"range", NULL, "addresses, first-last", RUNNER_T_STRING, RUNNER_P_REPEAT, 0, 0, NULL},
    {"gateway", NULL, "gateway/prefix", RUNNER_T_STRING, 0, 0, 0, NULL},
};
enum { PARAM_COUNT = 2, PARAM_RANGE = 8, PARAM_GATEWAY = 9 };

static int nothing(void) /* stands for each operation: the tests never call one */
{
    return -1;
}

/* Room for the operations of any kind, as a row of function pointers, and for some of a later API. */
static int (*ops[16])(void);

static int load(const struct runner_host *host, struct runner_error *err)
{
    (void)host;
    return fail(err, RUNNER_E_NOTSUP, 0, "no such hardware");
}

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n, (void)err;
    *ret_self = NULL;
    return 0;
}

static void destroy(void *self)
{
    (void)self;
}

static struct { /* a descriptor of a later API, which is longer */
    struct runner_plugin plugin;
    void *later[4];
} desc;

static struct { /* and its longer parameters */
    struct runner_param param;
    void *later[2];
} long_params[2];

static char own_name[64];

static uint32_t kind_of(const char *name)
{
    static const char *const names[] = {NULL, "transport", "vmm", "disk", "network", "ipam", "storage"};

    for (uint32_t kind = 1; kind < 7; kind++)
        if (strcmp(name, names[kind]) == 0)
            return kind;
    return 0;
}

static size_t ops_size(uint32_t kind)
{
    static const size_t sizes[] = {0,
                                   sizeof(struct runner_transport_ops),
                                   sizeof(struct runner_vmm_ops),
                                   sizeof(struct runner_disk_ops),
                                   sizeof(struct runner_network_ops),
                                   sizeof(struct runner_ipam_ops),
                                   sizeof(struct runner_storage_ops)};

    return sizes[kind];
}

/* <kind>/<name>.so at the end of the path that this object was loaded from. */
static uint32_t identify(void)
{
    char path[4096], *name, *kind;
    Dl_info info;

    if (dladdr(&desc, &info) == 0 || strlen(info.dli_fname) >= sizeof path)
        return 0;
    memcpy(path, info.dli_fname, strlen(info.dli_fname) + 1);
    name = strrchr(path, '/');
    *name++ = '\0';
    kind = strrchr(path, '/') + 1;
    if (strlen(name) < 4 || strlen(name) - 3 >= sizeof own_name)
        return 0;
    memcpy(own_name, name, strlen(name) - 3);
    return kind_of(kind);
}

static void make_good(uint32_t kind)
{
    desc.plugin = (struct runner_plugin){
        .magic = RUNNER_MAGIC,
        .size = sizeof(struct runner_plugin),
        .api_major = RUNNER_API_MAJOR,
        .api_minor = RUNNER_API_MINOR,
        .kind = kind,
        .threads = RUNNER_PARALLEL,
        .param_size = sizeof(struct runner_param),
        .n_params = sizeof params / sizeof params[0],
        .ops_size = (uint32_t)ops_size(kind),
        .name = own_name,
        .version = "1.2.3",
        .summary = "sample",
        .params = params,
        .ops = ops,
        .create = create,
        .destroy = destroy,
    };
    for (size_t i = 0; i < ops_size(kind) / sizeof ops[0]; i++)
        ops[i] = nothing;
}

/* A plugin built against a header of the future. */
static void make_newer(void)
{
    desc.plugin.size = sizeof desc;
    desc.plugin.api_minor = 7;
    desc.plugin.ops_size += 4 * sizeof ops[0];
    desc.plugin.caps = 1 | UINT64_C(1) << 40;
    long_params[0].param = params[0];
    long_params[1].param = params[PARAM_COUNT];
    desc.plugin.params = &long_params[0].param;
    desc.plugin.param_size = sizeof long_params[0];
    desc.plugin.n_params = 2;
}

static void make_special(void)
{
    struct runner_plugin *p = &desc.plugin;

    if (strcmp(own_name, "user") == 0)
        p->caps = RUNNER_NETWORK_CAP_OWN_ADDRESS;
    if (strcmp(own_name, "static-pool") == 0) {
        params[PARAM_RANGE].flags |= RUNNER_P_REQUIRED;
        params[PARAM_GATEWAY].flags |= RUNNER_P_REQUIRED;
    }
    if (strcmp(own_name, "newer") == 0)
        make_newer();
    if (strcmp(own_name, "wrong-magic") == 0)
        p->magic = 0x464c457f;
    if (strcmp(own_name, "wrong-major") == 0)
        p->api_major = 2;
    if (strcmp(own_name, "short-size") == 0)
        p->size = 40;
    if (strcmp(own_name, "huge-size") == 0)
        p->size = 1 << 20;
    if (strcmp(own_name, "short-ops") == 0)
        p->ops_size = 8;
    if (strcmp(own_name, "null-ops") == 0)
        p->ops = NULL;
    if (strcmp(own_name, "short-param") == 0)
        p->param_size = 16;
    if (strcmp(own_name, "odd-param") == 0)
        p->param_size++;
    if (strcmp(own_name, "many-params") == 0)
        p->n_params = 100000;
    if (strcmp(own_name, "wrong-kind") == 0)
        p->kind = RUNNER_VMM;
    if (strcmp(own_name, "unknown-kind") == 0)
        p->kind = 77;
    if (strcmp(own_name, "wrong-name") == 0)
        p->name = "other";
    if (strcmp(own_name, "wrong-threads") == 0)
        p->threads = 5;
    if (strcmp(own_name, "missing-op") == 0)
        ops[1] = NULL;
    if (strcmp(own_name, "missing-create") == 0)
        p->create = NULL;
    if (strcmp(own_name, "load-fails") == 0)
        p->load = load;
    if (strcmp(own_name, "bad-default") == 0)
        params[PARAM_COUNT].dflt = "65";
    if (strcmp(own_name, "bad-type") == 0)
        params[PARAM_COUNT].type = 99;
    if (strcmp(own_name, "bad-param-name") == 0)
        params[PARAM_COUNT].name = "plugin";
    if (strcmp(own_name, "twice-param") == 0)
        params[PARAM_COUNT].name = "label";
}

__attribute__((visibility("default"))) const struct runner_plugin *runner_plugin_1(void);
const struct runner_plugin *runner_plugin_1(void)
{
    uint32_t kind = identify();

    if (kind == 0 || strcmp(own_name, "null-descriptor") == 0)
        return NULL;
    make_good(kind);
    make_special();
    return &desc.plugin;
}
