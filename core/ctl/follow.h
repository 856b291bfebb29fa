/* Which part of a log that is fetched again and again is new. */
#ifndef CTL_FOLLOW_H
#define CTL_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/str.h"

#define FOLLOW_WINDOW 65536 /* bytes fetched each time */

struct follow {
    struct str seen;   /* the end of what was handed out, at most FOLLOW_WINDOW bytes */
    int64_t all_bytes; /* length of the log so far; -1: unknown, its start was never seen */
};

void follow_done(struct follow *f);

/*
 * Where the new bytes of now begin. now is the log's end; with is_whole all of it. Remembers now as seen. Without
 * is_whole the two are joined at their longest overlap, so a log that repeats itself over the whole window shows too
 * little, never something twice; a log that began anew is new from its start.
 */
size_t follow_new(struct follow *f, const char *now, size_t len, bool is_whole);

#endif
