/* Text for people: cleaning of what came from outside, sizes, ages, and writing to standard output. */
#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/str.h"

/* Appends text so that it cannot steer a terminal: control characters (C0, DEL, C1) and broken UTF-8 become \xNN. With
 * keep_lines newlines and tabs stay. */
void output_add_clean(struct str *out, const char *text, bool keep_lines);

/* "512 B", "1.5 KiB", "3.0 GiB". */
void output_add_size(struct str *out, int64_t size_bytes);

/* How long ago an RFC 3339 UTC time was: "5s", "3m", "2h", "4d"; "-" when it is none or in the future by over a minute.
 */
void output_add_age(struct str *out, const char *time, int64_t now_s);

/* Whether standard output takes colours: a terminal, TERM is not dumb, NO_COLOR is unset. */
bool output_is_colour(void);

/* Writes all of it to a descriptor. 0, or -1 with errno (EINTR when a signal came between). */
int output_write(int fd, const void *data, size_t len);

#endif
