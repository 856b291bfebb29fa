/* The body of a recovery (RecoverSandboxDTO of the contract, section 9.4). */
#ifndef CORE_RECOVER_REQUEST_H
#define CORE_RECOVER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/json.h"

/* In the error of one that has had all: by it the API knows this end, and REST answers 403. */
#define RECOVER_EXHAUSTED "storage cannot be further expanded"

/* *ret_full: its error, or else that of its backup, says that its disk is full, which a larger one cures. body NULL:
 * nothing is said. INVALID names the member. Pure. */
int recover_request_read(const struct json *body, bool *ret_full, struct runner_error *err);

/* What a disk of disk_bytes gets beside them by one more recovery, given what it got by those before: a twentieth a
 * time, at most a tenth, in whole MiB. -1: it had all. Pure. */
int64_t recover_extra(int64_t disk_bytes, int64_t had_bytes);

#endif
