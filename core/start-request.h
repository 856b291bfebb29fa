/* What a start may bring (contract 2.7): metadata, of which the last is kept, and a token for the guest's daemon. */
#ifndef CORE_START_REQUEST_H
#define CORE_START_REQUEST_H

#include "core/util/json.h"

/* metadata: texts by name, as the API sends them. Absent (NULL), null and {} are no news: *ret is NULL then; else a copy,
 * the caller's. INVALID names what is wrong, or that it is more than a record has room for. Pure. */
int start_request_metadata(const struct json *metadata, struct json **ret, struct runner_error *err);

/* A copy of an authToken, the caller's to wipe, see secret_free; NULL: there is none (absent, null or empty). INVALID: it is
 * no text, or too long for one. */
int start_request_token(const struct json *token, char **ret, struct runner_error *err);

void secret_free(char *secret); /* wipes it; takes NULL */

#endif
