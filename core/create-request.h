/* The body of a create (CreateSandboxDTO of the contract, section 1.4), checked and turned into the record to be. */
#ifndef CORE_CREATE_REQUEST_H
#define CORE_CREATE_REQUEST_H

#include "core/config.h"
#include "core/record.h"

/*
 * body: the object. What cannot be honoured (GPU, volumes, another class) is refused as NOTSUP, a member
 * that is missing, of a wrong type or out of bounds as INVALID: *ret_field names it then, and err says why.
 * Pure: touches nothing. Quotas are GiB and vCPUs; absent ones come from the host's defaults; memory is rounded up.
 */
int create_request_plan(const struct config *config, const struct config_host *host, const struct json *body,
                        struct record **ret, const char **ret_field, struct runner_error *err);

/* Bytes that a machine gets which asks for so many GiB, 0: for none in particular. */
int64_t create_request_memory(const struct config_host *host, int64_t gib);

#endif
