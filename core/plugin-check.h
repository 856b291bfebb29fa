/* A plugin's descriptor, which may be older or newer than this runner, turned into today's layout and checked. */
#ifndef PLUGIN_CHECK_H
#define PLUGIN_CHECK_H

#include <stdbool.h>

#include "core/loader.h"

/*
 * Copies and checks the descriptor found in the object at path, which should be plugin `name` of the kind: magic,
 * major, sizes, kind, name, functions, operations, parameters. Fills ret->desc, params (to be freed) and ops. NOTSUP
 * when it cannot be used; the message names the file, what was wanted and what was found. Calls nothing of the plugin.
 */
int plugin_copy(const struct runner_plugin *found, const char *path, uint32_t kind, const char *name,
                struct plugin *ret, struct runner_error *err);

struct plugin_op { /* one operation of a kind */
    const char *name;
    size_t offset;      /* in the kind's ops */
    uint64_t needs_cap; /* required only of plugins with this capability bit; 0: always */
};

/* The operations of a kind; *ret_n of them. */
const struct plugin_op *plugin_ops_of(uint32_t kind, size_t *ret_n);
/* sizeof of the kind's ops: in API 1.0, which no plugin may undercut, and as the header has it now. */
void plugin_ops_sizes(uint32_t kind, size_t *ret_smallest, size_t *ret_today);
bool plugin_has_op(const struct plugin *plugin, const struct plugin_op *op);
/* The name of capability bit i of a kind, or NULL. */
const char *plugin_cap_name(uint32_t kind, unsigned bit);

#endif
