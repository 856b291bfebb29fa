/* The daemon in a guest, seen from the host. */
#ifndef CORE_GUEST_H
#define CORE_GUEST_H

#include "core/host.h"
#include "core/record.h"

#define GUEST_DAEMON_PORT 2280

/* Asks GET /version until the daemon answers, the VM's process ends (UNREACHABLE), or the call's time is over (TIMEOUT).
 * exit_fd: from host_watch(), readable when the process ended. *ret_version: the caller frees. Blocks in call_wait. */
int guest_wait_ready(struct runner_call *call, const struct runner_nic *nic, int exit_fd, char **ret_version,
                     struct runner_error *err);

#endif
