/* Error bodies and the heads of answers that the server makes itself. */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

/* Seconds, with every 503: what is not taken has changed nothing and may come again. */
#define REPLY_RETRY_AFTER "1"

/* "Not Found" and the like; "Error" for a status without a name here. */
const char *reply_reason(int status);
/* The contract's code of a status: "NOT_FOUND", ... */
const char *reply_code(int status);
/* What the message of a status starts with: "not found: ", or "". */
const char *reply_prefix(int status);
/* The status of an error code: NOTFOUND 404, INVALID 400, EXISTS and BUSY 409, TIMEOUT 408, NOTSUP 501, others 500. */
int reply_status(int code);

/* RFC 3339, UTC, microseconds: "2026-01-02T03:04:05.678901Z". */
void reply_add_time(struct str *out, int64_t unix_us);

struct reply_error {
    int status;
    const char *code;          /* left out when empty */
    const char *message;       /* with its prefix */
    const char *path, *method; /* path "" when unknown; method left out when empty */
    size_t path_len, method_len;
};

/* Appends the error body. A message that tells of a full disk becomes the contract's recoverable 400: *ret_status. */
void reply_add_error(struct str *out, const struct reply_error *error, int *ret_status);

/* Appends status line, Content-Type (when not NULL), Content-Length, Retry-After (503), Connection: close (when closing)
 * and the blank line. */
void reply_add_head(struct str *out, int status, const char *content_type, size_t content_len, bool is_closing);

#endif
