#include "core/value.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

static const char *const modes[] = {"fast", "slow", NULL};
static const struct runner_param params[] = {
    {.name = "text", .type = RUNNER_T_STRING},
    {.name = "mode", .type = RUNNER_T_STRING, .choices = modes},
    {.name = "count", .type = RUNNER_T_INT, .min = 1, .max = 64},
    {.name = "on", .type = RUNNER_T_BOOL},
    {.name = "size", .type = RUNNER_T_BYTES, .min = 1024, .max = INT64_MAX},
    {.name = "wait", .type = RUNNER_T_MSEC, .min = 100, .max = 60000},
    {.name = "dir", .type = RUNNER_T_PATH},
    {.name = "any", .type = RUNNER_T_INT},
    {.name = "factor", .type = VALUE_T_FACTOR, .min = 0, .max = 1000000},
};

static const struct runner_param *param(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(params); i++)
        if (strcmp(params[i].name, name) == 0)
            return &params[i];
    cr_assert_fail("no parameter %s", name);
    return NULL;
}

Test(value, parse)
{
    static const struct {
        const char *name, *text, *ret_text;
        int64_t number;
    } cases[] = {
        {"text", "a b", "a b", 0},
        {"text", "", "", 0},
        {"mode", "slow", "slow", 1},
        {"count", "64", "64", 64},
        {"any", "-3", "-3", -3},
        {"on", "yes", "true", 1},
        {"on", "off", "false", 0},
        {"size", "1K", "1K", 1024},
        {"size", "20GiB", "20GiB", INT64_C(20) << 30},
        {"wait", "1m", "1m", 60000},
        {"factor", "4", "4", 4000},
        {"factor", "1.5", "1.5", 1500},
        {"factor", "0.25", "0.25", 250},
        {"factor", "0.001", "0.001", 1},
        {"factor", "1000.000", "1000.000", 1000000},
        {"dir", "/abs/x", "/abs/x", 0},
        {"dir", "kernels/vmlinux", "/root/kernels/vmlinux", 0},
        {"dir", "a..b/..c", "/root/a..b/..c", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_value value;
        cr_assert(value_parse(param(cases[i].name), "/root", cases[i].text, &value), "case %zu", i);
        cr_expect_str_eq(value.name, cases[i].name);
        cr_expect_str_eq(value.text, cases[i].ret_text);
        cr_expect_eq(value.number, cases[i].number, "case %zu: %" PRId64, i, value.number);
        free((char *)value.text);
    }
}

Test(value, refuse)
{
    static const struct {
        const char *name, *text, *expected;
    } cases[] = {
        {"text", "a\nb", "text in one line"},
        {"mode", "Fast", "one of fast, slow"},
        {"mode", "", "one of fast, slow"},
        {"count", "0", "a whole number from 1 to 64"},
        {"count", "65", "a whole number from 1 to 64"},
        {"count", " 5", "a whole number from 1 to 64"},
        {"count", "+5", "a whole number from 1 to 64"},
        {"count", "5x", "a whole number from 1 to 64"},
        {"count", "99999999999999999999", "a whole number from 1 to 64"},
        {"any", "", "a whole number"},
        {"on", "2", "true or false"},
        {"size", "20Q", "a size such as 512M or 20GiB, at least 1K"},
        {"size", "1023", "a size such as 512M or 20GiB, at least 1K"},
        {"wait", "30", "a time such as 250ms, 30s or 5m, from 100ms to 1m"},
        {"wait", "2m", "a time such as 250ms, 30s or 5m, from 100ms to 1m"},
        {"factor", "1.5.1", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "1.", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", ".5", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "0.0001", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "-1", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "1x", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "1000.001", "a number such as 2 or 1.5, from 0 to 1000"},
        {"factor", "9223372036854775807", "a number such as 2 or 1.5, from 0 to 1000"},
        {"dir", "", "an absolute path or one below the host's root, without '..'"},
        {"dir", "../x", "an absolute path or one below the host's root, without '..'"},
        {"dir", "/a/..", "an absolute path or one below the host's root, without '..'"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_value value;
        auto_str struct str expected = STR_INIT;
        cr_expect(!value_parse(param(cases[i].name), "/root", cases[i].text, &value), "case %zu", i);
        value_expected(param(cases[i].name), true, &expected);
        cr_expect_str_eq(str_text(&expected), cases[i].expected, "%s", str_text(&expected));
    }
}

Test(value, relative_path_without_root)
{
    struct runner_value value;

    cr_expect(!value_parse(param("dir"), NULL, "x", &value));
}

Test(value, format_is_what_parse_reads)
{
    static const struct {
        uint32_t type;
        int64_t number;
        const char *text;
    } cases[] = {
        {RUNNER_T_BYTES, INT64_C(1) << 30, "1G"},
        {RUNNER_T_BYTES, 1536 * 1024, "1536K"},
        {RUNNER_T_BYTES, 1000, "1000"},
        {RUNNER_T_MSEC, 90000, "90s"},
        {RUNNER_T_MSEC, 7200000, "2h"},
        {RUNNER_T_MSEC, 1, "1ms"},
        {RUNNER_T_MSEC, 0, "0"},
        {RUNNER_T_INT, -7, "-7"},
        {RUNNER_T_BOOL, 1, "true"},
        {VALUE_T_FACTOR, 8000, "8"},
        {VALUE_T_FACTOR, 1500, "1.5"},
        {VALUE_T_FACTOR, 50, "0.05"},
        {VALUE_T_FACTOR, 1001, "1.001"},
        {VALUE_T_FACTOR, 0, "0"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct runner_param p = {.name = "x", .type = cases[i].type};
        auto_str struct str text = STR_INIT;
        struct runner_value value;
        value_format(cases[i].type, cases[i].number, &text);
        cr_expect_str_eq(str_text(&text), cases[i].text);
        cr_assert(value_parse(&p, NULL, str_text(&text), &value));
        cr_expect_eq(value.number, cases[i].number);
        free((char *)value.text);
    }
}
