/*
 * From the files that an older runner left of a sandbox to a record of ours. Reads the host through batches and writes
 * nothing. Worker threads; blocks.
 */
#ifndef CORE_TAKEOVER_H
#define CORE_TAKEOVER_H

#include "core/foreign.h"
#include "core/host.h"

/* What its directory says. 1: there is neither a disk nor a config.json: it is no sandbox. -1, INVALID: the file and
 * the member that cannot be understood. */
int takeover_read(struct runner_call *call, const char *id, struct foreign *ret, struct runner_error *err);

/* The network interface that it has or will have; its address is leased to it. */
int takeover_lease(struct runner_call *call, const char *id, const struct foreign *foreign, struct runner_nic *ret,
                   struct runner_error *err);

/* Its disk, as the disk plugin finds it, and what it boots. Of a machine that runs is_running is true: what it boots
 * next time is left out where nothing is known. */
int takeover_plan(struct runner_call *call, const struct foreign *foreign, bool is_running, struct record *record,
                  struct runner_error *err);

/* The TAP that it has when nothing says otherwise. */
void takeover_tap(const char *id, char ret_name[16]);

#endif
