/* Quoting of words for the guest's shell and for URLs. */
#ifndef CTL_QUOTE_H
#define CTL_QUOTE_H

#include <stddef.h>

#include "core/util/str.h"

/* Appends the words as one line of POSIX shell which expands to exactly these words: each in single quotes, unless it
 * is made of harmless characters alone. */
void quote_shell(struct str *out, const char *const *words, size_t n);

/* Appends text percent-encoded: everything but letters, digits and "-._~". */
void quote_url(struct str *out, const char *text);

#endif
