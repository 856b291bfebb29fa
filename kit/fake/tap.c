#include "kit/fake/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int n_tests, n_failed;

__attribute__((format(printf, 2, 0))) static void say(const char *before, const char *format, va_list args,
                                                      const char *after)
{
    fputs(before, stdout);
    vprintf(format, args);
    puts(after);
    fflush(stdout);
}

void tap_ok(bool is_ok, const char *format, ...)
{
    va_list args;

    n_tests++;
    n_failed += !is_ok;
    printf("%sok %d - ", is_ok ? "" : "not ", n_tests);
    va_start(args, format);
    say("", format, args, "");
    va_end(args);
}

void tap_skip(const char *reason, const char *format, ...)
{
    va_list args;

    printf("ok %d - ", ++n_tests);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" # SKIP %s\n", reason);
    fflush(stdout);
}

void tap_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("# ", format, args, "");
    va_end(args);
}

void tap_bail_out(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("Bail out! ", format, args, "");
    va_end(args);
    exit(1);
}

int tap_done(void)
{
    printf("1..%d\n", n_tests);
    return n_failed == 0 ? 0 : 1;
}
