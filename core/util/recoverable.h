/* Errors after which the API offers a recovery (contract 1.2): what their text contains says so. */
#ifndef UTIL_RECOVERABLE_H
#define UTIL_RECOVERABLE_H

#include <stdbool.h>

#include "core/util/str.h"

bool recoverable_is(const char *message);
/* Appends the message as the JSON text that the API looks for. */
void recoverable_add(struct str *out, const char *message);

#endif
