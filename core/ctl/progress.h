/* One line on standard error that says what is waited for and for how long; nothing when that is no terminal. */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/str.h"

struct progress {
    const char *what; /* "create 0e1f...": the caller's, as long as the progress lives */
    bool is_on, is_shown;
    int64_t start_ms, last_ms;
    int64_t done_bytes, total_bytes; /* as they are known; 0 */
};

void progress_start(struct progress *p, const char *what);
/* Redraws, at most ten times a second. total_bytes 0: unknown; done_bytes 0 as well: elapsed time only. */
void progress_tick(struct progress *p, int64_t done_bytes, int64_t total_bytes);
/* Goes on with something else, of which time and bytes are counted anew. On what is no terminal a line says so, once. */
void progress_next(struct progress *p, const char *what);
/* Takes the line away. */
void progress_end(struct progress *p);

/* The line's text, for a test. */
void progress_add_line(struct str *out, const char *what, int64_t elapsed_ms, int64_t done_bytes, int64_t total_bytes);

#endif
