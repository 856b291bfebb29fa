/* Callbacks of struct http_backend by which the proxy reaches guests; ctx is the struct api. */
#ifndef CORE_API_GUEST_H
#define CORE_API_GUEST_H

#include "core/http/http.h"

/* Queues run(job), which may dial, behind the others for that sandbox. -1: too much is queued. */
int api_guest_submit(void *ctx, const char *id, void (*run)(void *job), void *job);
/* A connection to the port of the guest, or to its daemon with ret->prefix as the way on. On a worker; blocks. NOTFOUND: no
 * such sandbox; INVALID: it does not run. */
int api_guest_dial(void *ctx, const char *id, int port, int64_t timeout_ms, struct http_dialed *ret,
                   struct runner_error *err);

#endif
