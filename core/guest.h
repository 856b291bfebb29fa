/* The daemon in a guest, seen from the host. */
#ifndef CORE_GUEST_H
#define CORE_GUEST_H

#include "core/host.h"
#include "core/record.h"

#define GUEST_DAEMON_PORT 2280
#define GUEST_VERSION_MAX 128 /* bytes; more of it is cut */

/* Asks GET /version until the daemon answers, the VM's process ends (UNREACHABLE), or the call's time is over (TIMEOUT).
 * exit_fd: from host_watch(), readable when the process ended. *ret_version: the caller frees. Blocks in call_wait. */
int guest_wait_ready(struct runner_call *call, const struct runner_nic *nic, int exit_fd, char **ret_version,
                     struct runner_error *err);

/* Tells the daemon the token of its sandbox (POST /init, contract 6.3), which it sends its telemetry with. UNREACHABLE: it
 * did not take it. */
int guest_tell_token(struct runner_call *call, const struct runner_nic *nic, const char *token,
                     struct runner_error *err);

/* A reply to that question, as far as it came: whether it is whole, by its Content-Length (without one the peer's close
 * ends it); the version in it (the caller frees), or UNREACHABLE. Text ends with a NUL at len. */
bool guest_reply_is_whole(const char *text, size_t len);
int guest_reply_version(const char *text, char **ret_version, struct runner_error *err);

#endif
