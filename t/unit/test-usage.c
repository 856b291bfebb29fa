/* How busy processors were, from looks at their counters. */
#include <criterion/criterion.h>

#include "core/procfs.h"
#include "core/usage.h"

#define S INT64_C(1000000)

static void look(struct cpu_usage *usage, int64_t s, int64_t busy, int64_t total)
{
    usage_add(usage, &(struct cpu_look){.at_us = s * S, .busy = busy, .total = total});
}

Test(usage, difference_of_looks)
{
    struct cpu_usage usage = {.n = 0};

    cr_expect_eq(usage_percent(&usage), -1);
    look(&usage, 10, 1000, 9000);
    cr_expect_eq(usage_percent(&usage), -1, "one look tells nothing");
    look(&usage, 40, 1000, 9000);
    cr_expect_eq(usage_percent(&usage), -1, "nor does time in which nothing was counted");
    look(&usage, 70, 1250, 10000);
    cr_expect_eq(usage_percent(&usage), 25);
    look(&usage, 100, 2250, 11000);
    cr_expect_eq(usage_percent(&usage), 62.5);
    look(&usage, 101, 0, 0);
    cr_expect_eq(usage_percent(&usage), 62.5, "a look that failed changes nothing");
}

Test(usage, looks_that_are_close_are_one)
{
    struct cpu_usage usage = {.n = 0};

    for (int i = 0; i <= 1000; i++) /* ten a second */
        usage_add(&usage, &(struct cpu_look){.at_us = i * S / 10, .busy = i, .total = 2 * i + 1});
    cr_expect_lt(usage.n, USAGE_LOOKS_MAX + 1);
    cr_expect_float_eq(usage_percent(&usage), 50, 0.1);
    cr_expect_geq(usage.looks[usage.n - 1].at_us - usage.looks[0].at_us, 50 * S, "they cover a while");
}

Test(usage, what_is_long_ago_does_not_count)
{
    struct cpu_usage usage = {.n = 0};

    look(&usage, 0, 0, 1);
    for (int i = 1; i <= 20; i++)
        look(&usage, i * 60, 6000 * (i < 10 ? i : 10), 6000 * i + 1);
    cr_expect_eq(usage_percent(&usage), 0, "idle for the last ten minutes");
}

Test(usage, a_host_that_has_booted_begins_anew)
{
    struct cpu_usage usage = {.n = 0};

    look(&usage, 0, 5000, 10000);
    look(&usage, 30, 6000, 11000);
    look(&usage, 60, 10, 100);
    cr_expect_eq(usage_percent(&usage), -1);
    look(&usage, 90, 20, 200);
    cr_expect_eq(usage_percent(&usage), 10);
}

Test(usage, ticks_of_proc_stat)
{
    static const char text[] = "cpu  10 20 30 400 50 6 7 8 900 1000\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
    int64_t busy = -1, total = -1;

    cr_expect(procfs_cpu_ticks(text, &busy, &total));
    cr_expect_eq(busy, 10 + 20 + 30 + 6 + 7 + 8, "guests are in user already");
    cr_expect_eq(total, busy + 400 + 50);
    cr_expect_not(procfs_cpu_ticks("", &busy, &total));
    cr_expect_not(procfs_cpu_ticks("cpu  1 2 3", &busy, &total));
    cr_expect_not(procfs_cpu_ticks("cpu  1 2 3 99999999999999999 5 6 7 8", &busy, &total));
}
