/* For check programs: loads a built plugin with the host table of kit/fake/host.h, and speaks TAP. One thread. */
#ifndef PLUGIN_HOST_H
#define PLUGIN_HOST_H

#include <stdbool.h>

#include "include/runner-plugin.h"
#include "kit/fake/tap.h"

/* The plugin <top_builddir>/plugins/<name>.so, loaded with the table. Ends the program when it cannot be. */
const struct runner_plugin *host_load(const char *name);
/* An instance, with the defaults of its parameters and then key, value, ..., NULL. */
void *host_create(const struct runner_plugin *plugin, ...);
/* Batches run on this transport from now on; dial too. */
void host_transport(const struct runner_plugin *plugin, void *self);
struct runner_host *host_table(void);
/* The call to pass; ms until its deadline (-1: none); a cancel is seen when `fd` becomes readable (-1: never). */
struct runner_call *host_call(int64_t ms, int cancel_fd);
int64_t host_live(void); /* alloc'd blocks not released */
/* Runs the operation's batch as core would, undo included. */
int host_run_batch(struct runner_batch *batch, struct runner_error *err);
/* Undoes a batch that ran. */
void host_undo_batch(struct runner_batch *batch);

#endif
