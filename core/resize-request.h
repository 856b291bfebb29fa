/* The body of a resize (ResizeSandboxDTO of the contract, section 9.3). */
#ifndef CORE_RESIZE_REQUEST_H
#define CORE_RESIZE_REQUEST_H

#include "core/config.h"
#include "core/op.h"

/* cpu, memory (GiB) and disk (GiB): new totals, absent, null or 0 as it is. INVALID names the member. Pure. */
int resize_request_read(const struct config *config, const struct config_host *host, const struct json *body,
                        struct resize *ret, struct runner_error *err);

#endif
