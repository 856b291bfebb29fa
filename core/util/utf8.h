/* UTF-8 as Unicode has it: no long forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef UTIL_UTF8_H
#define UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#define UTF8_MAX 4 /* bytes of a sequence */

/* Length of the sequence at p, of which `left` bytes (1 at least) may be looked at; 0: it is none. No byte behind a NUL is
 * looked at: of text that ends in one, UTF8_MAX may be. */
size_t utf8_len(const unsigned char *p, size_t left);
/* Whether all of it is; a NUL byte is a character as others. */
bool utf8_is(const char *text, size_t len);

#endif
