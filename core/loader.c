#include "core/loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <string.h>

#include "core/plugin-check.h"
#include "core/util/text.h"

#define SYMBOL "runner_plugin_1" /* RUNNER_PLUGIN() puts the major into the name */

struct loader {
    char *dir;
    const struct runner_host *services;
    struct plugin *plugins; /* loaded ones */
    struct refusal *refusals;
};

struct refusal { /* a plugin whose load() failed: it stays mapped and is not tried again */
    char *path;
    struct runner_error err;
    struct refusal *next;
};

struct loader *loader_new(const char *dir, const struct runner_host *services)
{
    struct loader *loader = mem_alloc(sizeof *loader);

    loader->dir = mem_dup(dir);
    loader->services = services;
    return loader;
}

static void plugin_free(struct plugin *plugin)
{
    free(plugin->path);
    free(plugin->params);
    free(plugin);
}
CLEANUP_DEFINE(cleanup_plugin, struct plugin, plugin_free)

void loader_free(struct loader *loader)
{
    if (loader == NULL)
        return;
    while (loader->plugins != NULL) {
        struct plugin *plugin = loader->plugins;
        loader->plugins = plugin->next;
        plugin_free(plugin);
    }
    while (loader->refusals != NULL) {
        struct refusal *refusal = loader->refusals;
        loader->refusals = refusal->next;
        free(refusal->path);
        free(refusal);
    }
    free(loader->dir);
    free(loader);
}

static const char *const kind_names[LOADER_KINDS + 1] = {NULL, "transport", "vmm", "disk", "network", "ipam",
                                                           "storage"};

const char *loader_kind_name(uint32_t kind)
{
    return kind <= LOADER_KINDS ? kind_names[kind] : NULL;
}

uint32_t loader_kind(const char *name)
{
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        if (strcmp(name, kind_names[kind]) == 0)
            return kind;
    return 0;
}

static int is_object(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    char name[33] = "";

    if (len < 4 || len - 3 >= sizeof name || strcmp(entry->d_name + len - 3, ".so") != 0)
        return 0;
    memcpy(name, entry->d_name, len - 3);
    return text_is_plugin_name(name);
}

bool loader_has(const struct loader *loader, uint32_t kind, const char *name)
{
    auto_free char *path = mem_printf("%s/%s/%s.so", loader->dir, kind_names[kind], name);

    return access(path, F_OK) == 0;
}

void loader_list(const struct loader *loader, uint32_t kind, struct str *ret_names)
{
    auto_free char *dir = mem_printf("%s/%s", loader->dir, kind_names[kind]);
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_object, alphasort);

    for (int i = 0; i < n; i++) {
        str_addf(ret_names, "%.*s\n", (int)strlen(entries[i]->d_name) - 3, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* dlopen's own text names the file already, mostly at its start. */
static int refuse_object(struct runner_error *err, const char *path, const char *text)
{
    const char *rest;

    if (text == NULL)
        text = "unknown fault";
    if (text_starts(text, path, &rest) && text_starts(rest, ": ", &rest))
        text = rest;
    return fail(err, RUNNER_E_NOTSUP, 0, "plugin '%s': wanted a loadable shared object, found: %s", path, text);
}

static int refuse_symbol(struct runner_error *err, const char *path, void *object)
{
    for (int major = 0; major < 10; major++) {
        auto_free char *symbol = mem_printf("runner_plugin_%d", major);
        if (dlsym(object, symbol) != NULL)
            return fail(err, RUNNER_E_NOTSUP, 0, "plugin '%s': wanted the symbol " SYMBOL " (API major %d), found %s",
                        path, RUNNER_API_MAJOR, symbol);
    }
    return fail(err, RUNNER_E_NOTSUP, 0, "plugin '%s': wanted the symbol " SYMBOL ", found no such symbol", path);
}

/* The checked copy of what the object describes. */
static int plugin_read(void *object, const char *path, uint32_t kind, const char *name, struct plugin *ret,
                       struct runner_error *err)
{
    const struct runner_plugin *(*describe)(void);
    void *symbol = dlsym(object, SYMBOL);

    if (symbol == NULL)
        return refuse_symbol(err, path, object);
    memcpy(&describe, &symbol, sizeof describe); /* ISO C has no cast from an object to a function pointer */
    return plugin_copy(describe(), path, kind, name, ret, err);
}

static int refusal_keep(struct loader *loader, const char *path, struct runner_error *err)
{
    struct refusal *refusal = mem_alloc(sizeof *refusal);

    error_wrap(err, "plugin '%s': load", path);
    refusal->path = mem_dup(path);
    error_copy(&refusal->err, err);
    refusal->next = loader->refusals;
    loader->refusals = refusal;
    return -1;
}

static int plugin_load(struct loader *loader, const struct plugin *plugin, struct runner_error *err)
{
    struct runner_error own = ERROR_INIT;

    if (plugin->desc.load == NULL || plugin->desc.load(loader->services, &own) == 0)
        return 0;
    if (own.code == 0 || own.message[0] == '\0')
        (void)fail(&own, RUNNER_E_IO, 0, "failed without a message");
    (void)refusal_keep(loader, plugin->path, &own);
    if (err != NULL)
        error_copy(err, &own);
    return -1;
}

static int object_open(struct loader *loader, uint32_t kind, const char *name, const char *path, struct plugin **ret,
                       struct runner_error *err)
{
    CLEANUP(cleanup_plugin) struct plugin *plugin = mem_alloc(sizeof *plugin);
    void *object;

    if (access(path, F_OK) < 0)
        return fail_errno(err, errno, "plugin '%s'", path);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return refuse_object(err, path, dlerror());
    plugin->path = mem_dup(path);
    if (plugin_read(object, path, kind, name, plugin, err) < 0) {
        dlclose(object); /* its load() has not run: nothing of it is in use */
        return -1;
    }
    if (plugin_load(loader, plugin, err) < 0)
        return -1;
    *ret = plugin;
    plugin = NULL;
    return 0;
}

int loader_open(struct loader *loader, uint32_t kind, const char *name, const struct plugin **ret,
                struct runner_error *err)
{
    auto_free char *path = NULL;
    struct plugin *plugin;

    if (kind == 0 || kind > LOADER_KINDS)
        return fail(err, RUNNER_E_INVALID, 0, "plugin kind: wanted 1 to %d, found %u", LOADER_KINDS, kind);
    if (!text_is_plugin_name(name))
        return fail(err, RUNNER_E_INVALID, 0, "plugin name: wanted 1 to 32 of a-z, 0-9 and '-', found '%s'", name);
    path = mem_printf("%s/%s/%s.so", loader->dir, kind_names[kind], name);
    for (plugin = loader->plugins; plugin != NULL; plugin = plugin->next)
        if (strcmp(plugin->path, path) == 0) {
            *ret = plugin;
            return 0;
        }
    for (struct refusal *refusal = loader->refusals; refusal != NULL; refusal = refusal->next)
        if (strcmp(refusal->path, path) == 0) {
            if (err != NULL)
                error_copy(err, &refusal->err);
            return -1;
        }
    if (object_open(loader, kind, name, path, &plugin, err) < 0)
        return -1;
    plugin->next = loader->plugins;
    loader->plugins = plugin;
    *ret = plugin;
    return 0;
}
