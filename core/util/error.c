#include "core/util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_line(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static void __attribute__((format(printf, 4, 0)))
set_message(struct runner_error *err, int code, int sys_errno, const char *format, va_list args)
{
    int length;

    if (err == NULL)
        return;
    err->code = code;
    err->sys_errno = sys_errno;
    err->retry = 0;
    length = vsnprintf(err->message, sizeof err->message, format, args);
    if (length < 0)
        length = 0;
    if (sys_errno != 0 && (size_t)length < sizeof err->message)
        (void)snprintf(err->message + length, sizeof err->message - (size_t)length, ": %s", strerrordesc_np(sys_errno));
    make_line(err->message);
}

int fail(struct runner_error *err, int code, int sys_errno, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_message(err, code, sys_errno, format, args);
    va_end(args);
    return -1;
}

static int code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
    case ENODEV:
    case ESRCH:
        return RUNNER_E_NOTFOUND;
    case EEXIST:
        return RUNNER_E_EXISTS;
    case EBUSY:
    case EWOULDBLOCK:
    case ETXTBSY:
    case EADDRINUSE:
        return RUNNER_E_BUSY;
    case ENOSPC:
    case EDQUOT:
        return RUNNER_E_NOSPACE;
    case EINVAL:
    case ENAMETOOLONG:
        return RUNNER_E_INVALID;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case EPIPE:
        return RUNNER_E_UNREACHABLE;
    case ECANCELED:
        return RUNNER_E_CANCELLED;
    case ETIMEDOUT:
        return RUNNER_E_TIMEOUT;
    case ENOSYS:
    case EOPNOTSUPP:
        return RUNNER_E_NOTSUP;
    case ENOMEM:
        return RUNNER_E_NOMEM;
    default:
        return RUNNER_E_IO;
    }
}

int fail_errno(struct runner_error *err, int sys_errno, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_message(err, code_of_errno(sys_errno), sys_errno, format, args);
    va_end(args);
    return -1;
}

int error_wrap(struct runner_error *err, const char *format, ...)
{
    char old[RUNNER_ERROR_MAX];
    va_list args;
    int length;

    if (err == NULL)
        return -1;
    memcpy(old, err->message, sizeof old);
    va_start(args, format);
    length = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < sizeof err->message)
        (void)snprintf(err->message + length, sizeof err->message - (size_t)length, ": %.*s",
                       (int)(sizeof err->message - (size_t)length), old);
    make_line(err->message);
    return -1;
}

void error_append(struct runner_error *err, const char *format, ...)
{
    size_t length = strlen(err->message);
    va_list args;

    if (length + 3 >= sizeof err->message)
        return;
    if (length > 0) {
        memcpy(err->message + length, "; ", 3);
        length += 2;
    }
    va_start(args, format);
    (void)vsnprintf(err->message + length, sizeof err->message - length, format, args);
    va_end(args);
    make_line(err->message);
}

void error_clear(struct runner_error *err)
{
    err->code = err->sys_errno = 0;
    err->retry = 0;
    err->message[0] = '\0';
}

void error_copy(struct runner_error *to, const struct runner_error *from)
{
    to->code = from->code;
    to->sys_errno = from->sys_errno;
    to->retry = from->retry;
    memcpy(to->message, from->message, sizeof to->message);
}

const char *error_name(int code)
{
    static const char *const names[] = {"ok",          "invalid",   "notfound", "exists", "busy",  "nospace", "io",
                                        "unreachable", "cancelled", "timeout",  "notsup", "nomem", "denied"};

    return code >= 0 && (size_t)code < sizeof names / sizeof names[0] ? names[code] : "unknown";
}
