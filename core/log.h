/* Log lines: one event with a stable name and fields, to standard error. Any thread; each line is one write(2). */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/runner-plugin.h"

/* level: RUNNER_LOG_*, what is above it is dropped. Before threads start. */
void log_setup(uint32_t level, bool as_json);

/* log_event(RUNNER_LOG_INFO, "op.done", "id", id, "ms", text, NULL): key and value pairs, a NULL value is left out. */
void log_event(uint32_t level, const char *event, ...) __attribute__((sentinel));

void log_fields(uint32_t level, const char *event, const struct runner_field *fields, size_t n);

#endif
