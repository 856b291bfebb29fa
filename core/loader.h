/*
 * Finding and loading plugins: <dir>/<kind>/<name>.so becomes a struct plugin in today's layout.
 *
 * Loading is single-threaded (start-up); afterwards a struct plugin is constant and any thread may read it. Nothing is
 * ever dlclose'd: libraries leave handlers behind, and leak reports need the symbols.
 */
#ifndef LOADER_H
#define LOADER_H

#include <stdbool.h>

#include "include/runner-plugin.h"
#include "core/util/error.h"
#include "core/util/str.h"

#define LOADER_KINDS      6 /* kinds known today: RUNNER_TRANSPORT .. RUNNER_STORAGE */
#define LOADER_PARAMS_MAX 256

union plugin_ops {
    struct runner_transport_ops transport;
    struct runner_vmm_ops vmm;
    struct runner_disk_ops disk;
    struct runner_network_ops network;
    struct runner_ipam_ops ipam;
    struct runner_storage_ops storage;
};

/* A loaded plugin. desc, params and ops are zero-filled copies: what an older plugin lacks is NULL here, so core tests
 * members for NULL and needs no RUNNER_HAS. Required operations are never NULL. Owned by its loader. */
struct plugin {
    char *path;                  /* of the shared object */
    struct runner_plugin desc;   /* .size: as the plugin says; .params and .ops point at the copies below */
    struct runner_param *params; /* desc.n_params of them */
    union plugin_ops ops;
    struct plugin *next;
};

struct loader;

/* dir: plugin directory; services: handed to each plugin's load(), must outlive everything. Free with loader_free(). */
struct loader *loader_new(const char *dir, const struct runner_host *services);
/* Frees the copies; the objects stay mapped. Takes NULL. */
void loader_free(struct loader *loader);
CLEANUP_DEFINE(cleanup_loader, struct loader, loader_free)
#define auto_loader CLEANUP(cleanup_loader)

/*
 * The plugin `name` of a kind, loaded at the first call. Returns 0 and the plugin, or -1: INVALID (bad name or kind),
 * NOTFOUND (no such file), NOTSUP (not a plugin that this runner can use), or what its load() says. The message names
 * the file, what was wanted and what was found. A plugin whose load() failed is not tried again: the same error comes
 * back.
 */
int loader_open(struct loader *loader, uint32_t kind, const char *name, const struct plugin **ret,
                struct runner_error *err);

/* "transport" for RUNNER_TRANSPORT, ...; NULL for a kind that is not known. */
const char *loader_kind_name(uint32_t kind);
/* The kind called `name`, or 0. */
uint32_t loader_kind(const char *name);

/* Whether there is such a file; it is not looked at. */
bool loader_has(const struct loader *loader, uint32_t kind, const char *name);
/* Names of the plugins of a kind that are in the directory (files that look like one; not opened), sorted, each ended
 * by a newline. For suggestions and listings. A directory that is missing has none. */
void loader_list(const struct loader *loader, uint32_t kind, struct str *ret_names);

/* Appends what `runner-ch --dump-plugin KIND/NAME` prints: one key=value a line (path, kind, name, version, summary,
 * api, size, threads, caps, param_size, n_params, ops_size, op.<name>=yes|no, param.<name>.{type,flags,default,min,max,
 * choices,doc}). */
void loader_dump(const struct plugin *plugin, struct str *ret_text);

#endif
