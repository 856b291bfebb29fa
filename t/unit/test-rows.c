/* The API's list of sandboxes, as it comes in parts. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/jobs/rows.h"
#include "core/util/json.h"
#include "core/util/str.h"

static int read_all(const char *text, size_t part, struct rows **ret, struct runner_error *err)
{
    size_t len = strlen(text);

    *ret = rows_new();
    for (size_t at = 0; at < len; at += part)
        rows_feed(*ret, text + at, len - at < part ? len - at : part);
    return rows_end(*ret, err);
}

Test(rows, lists_in_parts_of_any_size)
{
    static const char text[] = "[{\"id\":\"b\",\"state\":\"started\",\"env\":{\"A\":\"1\"},\"volumes\":[[],{}]},\n"
                               " {\"id\":\"a\",\"state\":\"error\",\"desiredState\":\"destroyed\"}]\n";

    for (size_t part = 1; part <= sizeof text; part++) {
        struct runner_error err = ERROR_INIT;
        const struct row *row;
        struct rows *rows;

        cr_assert_eq(read_all(text, part, &rows, &err), 0, "%s", err.message);
        row = rows_find(rows, "a");
        cr_assert_not_null(row);
        cr_expect_str_eq(row->state, "error");
        cr_expect(row->is_unwanted);
        row = rows_find(rows, "b");
        cr_assert_not_null(row);
        cr_expect_str_eq(row->state, "started");
        cr_expect_not(row->is_unwanted);
        cr_expect_null(rows_find(rows, "c"));
        rows_free(rows);
    }
}

Test(rows, more_than_a_document_may_have)
{
    auto_str struct str text = STR_INIT;
    struct runner_error err = ERROR_INIT;
    struct rows *rows;
    char id[16];

    str_add_char(&text, '[');
    for (int i = 0; i < 10000; i++) {
        str_addf(&text, "%s{\"id\":\"box-%d\",\"state\":\"stopped\"", i > 0 ? "," : "", i);
        for (int member = 0; member < 40; member++)
            str_addf(&text, ",\"m%d\":%d", member, member);
        str_add_char(&text, '}');
    }
    str_add_char(&text, ']');
    cr_assert_eq(read_all(str_text(&text), 16384, &rows, &err), 0, "%s", err.message);
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(id, sizeof id, "box-%d", i);
        cr_assert_not_null(rows_find(rows, id));
    }
    rows_free(rows);
}

/* Whatever is not a whole list says nothing about any sandbox. */
Test(rows, d17_what_is_no_whole_list)
{
    static const char *const texts[] = {
        "",
        "  ",
        "{}",
        "7",
        "null",
        "{\"items\":[]}",
        "[",
        "[{\"id\":\"a\",\"state\":\"started\"}",
        "[{\"id\":\"a\",\"state\":\"started\"},",
        "[{\"id\":\"a\",\"state\":\"started\"},]",
        "[{\"id\":\"a\",\"state\":\"started\"}]]",
        "[{\"id\":\"a\"}]",
        "[{\"state\":\"started\"}]",
        "[{\"id\":\"\",\"state\":\"started\"}]",
        "[{\"id\":7,\"state\":\"started\"}]",
        "[7]",
        "[null]",
        "[[]]",
        "[{\"id\":\"a\",\"id\":\"b\",\"state\":\"started\"}]",
        "<html>",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t part = 1; part <= 64; part *= 8) {
            struct runner_error err = ERROR_INIT;
            struct rows *rows;

            cr_expect_eq(read_all(texts[i], part, &rows, &err), -1, "'%s'", texts[i]);
            cr_expect_eq(err.code, RUNNER_E_INVALID);
            cr_expect_str_not_empty(err.message);
            rows_free(rows);
        }
}

Test(rows, an_element_has_a_bound)
{
    struct runner_error err = ERROR_INIT;
    struct rows *rows = rows_new();
    static char part[65536];

    memset(part, 'x', sizeof part);
    rows_feed(rows, "[{\"id\":\"", 8);
    for (int i = 0; i < 1000; i++)
        rows_feed(rows, part, sizeof part);
    cr_expect_eq(rows_end(rows, &err), -1);
    cr_expect_not_null(strstr(err.message, "longer than"), "%s", err.message);
    rows_free(rows);
}
