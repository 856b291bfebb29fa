/* Text that grows, and what is written into it. */
#include "core/util/str.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/util/json.h"

Test(str, formats_as_printf_does)
{
    auto_str struct str s = STR_INIT;
    char expected[256];

    str_addf(&s, "%s/sandboxes/%s%s", "/root", "id", "");
    str_addf(&s, "%s", "");
    str_addf(&s, "no conversion");
    str_addf(&s, " 100%% of %s", "it");
    str_addf(&s, " %d %5.1f %.2s %s", -7, 2.25, "abc", "end");
    (void)snprintf(expected, sizeof expected, "%s/sandboxes/%s%s%sno conversion 100%% of %s %d %5.1f %.2s %s", "/root",
                   "id", "", "", "it", -7, 2.25, "abc", "end");
    cr_expect_str_eq(str_text(&s), expected);
    cr_expect_eq(s.len, strlen(expected));
}

Test(str, grows_over_texts_of_any_length)
{
    auto_str struct str s = STR_INIT;
    auto_free char *text = mem_array(100001, 1);

    memset(text, 'x', 100000);
    str_addf(&s, "%s-%s", text, text);
    str_addf(&s, "%d%s", 1, text);
    cr_expect_eq(s.len, 300002);
    cr_expect_eq(strlen(str_text(&s)), s.len);
    cr_expect_eq(s.ptr[100000], '-');
}

Test(str, numbers)
{
    static const int64_t numbers[] = {0, 7, -7, 10, 1234567890, INT64_MAX, INT64_MIN};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        auto_str struct str s = STR_INIT;
        char expected[32];

        str_add_int(&s, numbers[i]);
        (void)snprintf(expected, sizeof expected, "%" PRId64, numbers[i]);
        cr_expect_str_eq(str_text(&s), expected);
    }
}

Test(str, thousandths)
{
    static const struct {
        uint64_t value;
        const char *text;
    } cases[] = {{0, "0"},    {1, "0.001"},  {10, "0.01"},    {100, "0.1"},        {999, "0.999"},
                 {1000, "1"}, {1500, "1.5"}, {1005, "1.005"}, {2346050, "2346.05"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str struct str s = STR_INIT;

        json_add_thousandths(&s, NULL, cases[i].value);
        cr_expect_str_eq(str_text(&s), cases[i].text);
    }
}

Test(str, json_of_texts_and_numbers)
{
    auto_str struct str s = STR_INIT;

    json_open(&s, NULL, '{');
    json_add_text(&s, "a", "plain");
    json_add_text(&s, "b", "\"\\\n\x01 \xc3\xa9 \xff");
    json_add_int(&s, "c", -12);
    json_add_thousandths(&s, "d", 2250);
    json_open(&s, "e", '[');
    json_add_text(&s, NULL, "");
    json_add_text(&s, NULL, NULL);
    json_close(&s, ']');
    json_close(&s, '}');
    cr_expect_str_eq(str_text(&s),
                     "{\"a\":\"plain\",\"b\":\"\\\"\\\\\\n\\u0001 \xc3\xa9 \xef\xbf\xbd\",\"c\":-12,\"d\":2.25,"
                     "\"e\":[\"\",null]}");
}

/* Which bytes are quoted does not depend on where in a text they stand. */
Test(str, json_quotes_each_byte_at_each_place)
{
    for (int byte = 1; byte < 256; byte++)
        for (size_t at = 0; at < 18; at++) {
            auto_str struct str s = STR_INIT, expected = STR_INIT;
            char text[] = "abcdefghijklmnopqr";

            text[at] = (char)byte;
            json_add_text(&s, NULL, text);
            str_addf(&expected, "\"%.*s", (int)at, text);
            if (byte >= 0x80)
                str_add(&expected, "\xef\xbf\xbd");
            else if (byte == '\n')
                str_add(&expected, "\\n");
            else if (byte < 0x20 || byte == 0x7f)
                str_addf(&expected, "\\u%04x", (unsigned)byte);
            else
                str_addf(&expected, byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
            str_addf(&expected, "%s\"", text + at + 1);
            cr_expect_str_eq(str_text(&s), str_text(&expected), "byte %d at %zu", byte, at);
        }
}
