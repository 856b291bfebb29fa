/* Checks and transformations of short texts. */
#ifndef UTIL_TEXT_H
#define UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/util/str.h"

/* A sandbox id: [a-z0-9][a-z0-9-]{0,62}. The one check before an id reaches a path, a name or a command (S1, S9). */
bool text_is_id(const char *id);
/* A snapshot reference: 1 to 8 components of [a-zA-Z0-9][a-zA-Z0-9._:@-]* joined by '/', at most 255 bytes; no component
 * is "." or "..". */
bool text_is_ref(const char *ref);
/* A plugin name: [a-z0-9-]+ of at most 32 bytes. */
bool text_is_plugin_name(const char *name);

/* The nearest of n words within an edit distance that makes a misspelling likely, or NULL. */
const char *text_nearest(const char *word, const char *const *words, size_t n);

/* Equal in constant time for a given length of b. */
bool text_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len);

/* Appends text with everything outside printable ASCII as \xNN (for logs). */
void text_add_escaped(struct str *out, const char *text, size_t len);

/* Whether text starts with prefix; if so and ret_rest is not NULL, the rest. */
bool text_starts(const char *text, const char *prefix, const char **ret_rest);

#endif
