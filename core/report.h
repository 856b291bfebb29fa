/* All complaints about a configuration, one line each, in the order in which they were found. */
#ifndef REPORT_H
#define REPORT_H

#include <stddef.h>

#include "core/util/str.h"

#define REPORT_MAX 200 /* lines; more are counted only */

/* Where a value stands. line 0: source is not a file ("env API_PORT", "option --plugin-dir"). */
struct place {
    const char *source;
    int line, column; /* from 1 */
};

struct report {
    struct str text;
    size_t count;
};
#define REPORT_INIT                                                                                                    \
    {                                                                                                                  \
        STR_INIT, 0                                                                                                    \
    }

/* "source:line:column: key: message\n"; key "" leaves it out. Control characters become blanks. */
void report_add(struct report *report, const struct place *place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "source:line:column" or "source". */
void place_add(struct str *out, const struct place *place);

#endif
