/* Filling struct runner_error. The lowest function that knows the cause writes the message. */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include "include/runner-plugin.h"

#define ERROR_INIT                                                                                                     \
    {                                                                                                                  \
        .size = sizeof(struct runner_error)                                                                            \
    }

/*
 * Fills err (may be NULL) and returns -1: `return fail(err, RUNNER_E_IO, errno, "read '%s'", path)`. With sys_errno != 0
 * its text is appended: "read '/x': Permission denied". Newlines and control characters become blanks.
 */
int fail(struct runner_error *err, int code, int sys_errno, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* As fail(), the code chosen from sys_errno: ENOENT -> NOTFOUND, EEXIST -> EXISTS, ENOSPC, EDQUOT -> NOSPACE, ... */
int fail_errno(struct runner_error *err, int sys_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<context>: " before the message; code and errno stay. Returns -1. */
int error_wrap(struct runner_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "; <more>" behind the message, when it still fits. */
void error_append(struct runner_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void error_clear(struct runner_error *err);
void error_copy(struct runner_error *to, const struct runner_error *from);

/* "notfound", "nospace", ...: a stable name for logs and metrics. */
const char *error_name(int code);

#endif
