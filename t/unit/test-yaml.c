#include "core/yaml.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"

/* The report of a text; "" when there is none. */
static char *faults(const char *text, size_t len)
{
    struct report report = REPORT_INIT;
    auto_yaml struct yaml *root = NULL;
    int result = yaml_parse("f", text, len, &root, &report);

    cr_expect(result == 0 || report.count > 0, "a refusal without a word");
    return str_steal(&report.text);
}

static struct yaml *parse(const char *text)
{
    struct report report = REPORT_INIT;
    struct yaml *root = NULL;

    cr_assert_eq(yaml_parse("f", text, strlen(text), &root, &report), 0, "%s", str_text(&report.text));
    cr_assert_eq(report.count, 0, "%s", str_text(&report.text));
    str_done(&report.text);
    return root;
}

Test(yaml, tree_and_places)
{
    auto_yaml struct yaml *root = parse("a: 1\nb:\n  - x\n  - {c: \"q\", d: ~}\ne: ''\n");
    const struct yaml *list = yaml_get(root, "b"), *map = list->last;
    auto_free char *path = yaml_path(yaml_get(map, "c"), NULL);
    auto_free char *absent = yaml_path(map, "z");

    cr_expect_eq(root->type, YAML_MAP);
    cr_expect_str_eq(yaml_get(root, "a")->text, "1");
    cr_expect_eq(list->type, YAML_LIST);
    cr_expect_str_eq(list->first->text, "x");
    cr_expect_eq(list->first->at.line, 3);
    cr_expect_eq(list->first->at.column, 5);
    cr_expect_eq(yaml_get(map, "c")->at.column, 9);
    cr_expect_eq(yaml_get(map, "c")->key_at.column, 6);
    cr_expect_null(yaml_get(map, "d"), "null counts as absent");
    cr_expect_eq(map->last->type, YAML_NULL);
    cr_expect_str_eq(yaml_get(root, "e")->text, "");
    cr_expect_str_eq(path, "b[1].c");
    cr_expect_str_eq(absent, "b[1].z");
}

Test(yaml, empty)
{
    cr_expect_null(parse(""));
    cr_expect_null(parse("# nothing\n"));
    cr_expect_null(parse("---\n"));
}

Test(yaml, put_and_remove)
{
    auto_yaml struct yaml *root = parse("{a: 1, b: 2, c: 3}");
    struct place at = {"env X", 0, 0};
    auto_free char *path = NULL;

    yaml_put(root, "b", yaml_new(YAML_TEXT, &at, "9"));
    cr_expect_str_eq(yaml_get(root, "b")->text, "9");
    cr_expect_eq(root->last, yaml_get(root, "b"));
    yaml_remove(root, "b");
    yaml_remove(root, "b");
    cr_expect_null(yaml_get(root, "b"));
    yaml_put(root, "d", yaml_new(YAML_LIST, &at, NULL));
    yaml_put(yaml_get(root, "d"), NULL, yaml_new(YAML_TEXT, &at, "x"));
    path = yaml_path(yaml_get(root, "d")->first, NULL);
    cr_expect_str_eq(path, "d[0]");
}

Test(yaml, refusals)
{
    static const struct {
        const char *text, *report;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "f:3:1: a: expected each key once, found 'a' again (first in line 1)\n"},
        {"a: {b: 1, b: {c: 1}}\na: 2\n", "f:1:11: a.b: expected each key once, found 'b' again (first in line 1)\n"
                                         "f:2:1: a: expected each key once, found 'a' again (first in line 1)\n"},
        {"a: &x 1\nb: *x\n", "f:2:4: b: expected a value, found an alias (*name), which is not supported\n"},
        {"a: !!str 1\n", "f:1:4: a: expected a plain value, found a tag (!name), which is not supported\n"},
        {"a: 1\n---\nb: 1\n", "f:2:1: expected one document, found another (---)\n"},
        {"[a, b]: 1\n", "f:1:1: expected a key that is text, found a list or mapping\n"},
        {"a: [1, 2\nb: 3\n", "f:2:2: not YAML: while parsing a flow sequence, did not find expected ',' or ']'\n"},
        {"a: \"x\\0y\"\n", "f:1:4: a: expected text without NUL bytes, found one\n"},
        {"a:\n\t- b\n",
         "f:2:1: not YAML: while scanning for the next token, found character that cannot start any token\n"},
        {"a: \xff\n", "f: expected UTF-8 text, found: invalid leading UTF-8 octet at byte 3\n"},
        {"? \n: 1\n", "f:1:2: expected a key, found nothing\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *report = faults(cases[i].text, strlen(cases[i].text));
        cr_expect_str_eq(report, cases[i].report, "case %zu: %s", i, report);
    }
}

static char *repeated(const char *text, size_t n)
{
    struct str s = STR_INIT;

    while (n-- > 0)
        str_add(&s, text);
    return str_steal(&s);
}

Test(yaml, bounds)
{
    auto_free char *deep = repeated("[", 16), *deeper = repeated("[", 17), *many = repeated("- 1\n", 10001),
                   *enough = repeated("- 1\n", 9999), *text = repeated("x", YAML_TEXT_MAX + 1);
    auto_free char *deep_report = faults(deep, 16), *deeper_report = faults(deeper, 17),
                   *many_report = faults(many, strlen(many)), *enough_report = faults(enough, strlen(enough)),
                   *text_report = faults(text, strlen(text));

    cr_expect_not_null(strstr(deep_report, "not YAML"));
    cr_expect_str_eq(deeper_report,
                     "f:1:17: [0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: expected at most 16 levels, "
                     "found more\n");
    cr_expect_str_eq(many_report, "f:10000:3: expected at most 10000 keys and values, found more\n");
    cr_expect_str_eq(enough_report, "");
    cr_expect_str_eq(text_report, "f:1:1: expected at most 16384 bytes of text, found more\n");
}
