/* The seed of a sandbox: what its record says, in the form that seed_build() takes. */
#ifndef CORE_SANDBOX_SEED_H
#define CORE_SANDBOX_SEED_H

#include "core/config.h"
#include "core/record.h"

/* Worker thread: may read the daemon's file. INVALID names the member of the request that no guest would take. */
int sandbox_seed(const struct config_host *config, const struct record *record, struct str *ret_iso,
                 struct runner_error *err);

/* The daemon that seeds deliver unless a snapshot brings its own: the configured one or the bundled one. */
const char *sandbox_daemon_path(const struct config_host *config);

#endif
