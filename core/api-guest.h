/* How the proxy reaches guests: "submit" and "dial" of struct http_backend, as core/http/http.h has them; ctx is the struct
 * api. */
#ifndef CORE_API_GUEST_H
#define CORE_API_GUEST_H

#include "core/http/http.h"

int api_guest_submit(void *ctx, const char *id, void (*run)(void *job), void *job);
int api_guest_dial(void *ctx, const char *id, int port, int64_t timeout_ms, struct http_dialed *ret,
                   struct runner_error *err);

#endif
