/* Saying a struct runner_finding: what works on a host and what does not. */
#ifndef UTIL_FINDING_H
#define UTIL_FINDING_H

#include "include/runner-plugin.h"

struct finding_sink { /* where findings go: the last arguments of runner_plugin.diagnose */
    void (*say)(void *ctx, const struct runner_finding *);
    void *ctx;
};

/* fix: NULL, or the command that mends it. Control characters of the text become blanks. */
void finding_say(const struct finding_sink *to, uint32_t level, const char *topic, const char *fix, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));

/* "ok", "warn", "FAIL", "skip". */
const char *finding_level_name(uint32_t level);

#endif
