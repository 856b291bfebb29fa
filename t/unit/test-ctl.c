/* runnerctl's parts: options, quoting, tables, cleaning, following. */
#include <criterion/criterion.h>
#include <locale.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/ctl/create.h"
#include "core/ctl/ctl.h"
#include "core/ctl/follow.h"
#include "core/ctl/options.h"
#include "core/ctl/output.h"
#include "core/ctl/progress.h"
#include "core/ctl/quote.h"
#include "core/ctl/table.h"

static void expect_text(const struct str *got, const char *wanted)
{
    cr_expect_str_eq(str_text(got), wanted, "got: %s wanted: %s", str_text(got), wanted);
}

/* ---- quoting ---- */

Test(quote, shell)
{
    static const struct {
        const char *words[4];
        size_t n;
        const char *line;
    } cases[] = {
        {{"ls", "-l", "/tmp/a_b.c"}, 3, "ls -l /tmp/a_b.c"},
        {{"echo", ""}, 2, "echo ''"},
        {{"it's"}, 1, "'it'\\''s'"},
        {{"a b", "$x", "`y`", "!z"}, 4, "'a b' '$x' '`y`' '!z'"},
        {{"A=1", "~", "*"}, 3, "'A=1' '~' '*'"},
        {{"if", "if"}, 2, "'if' if"},
        {{"\n"}, 1, "'\n'"},
        {{"%1"}, 1, "'%1'"},
        {{"\xc3\xa9"}, 1, "'\xc3\xa9'"},
        {{NULL}, 0, ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str struct str line = STR_INIT;
        quote_shell(&line, cases[i].words, cases[i].n);
        expect_text(&line, cases[i].line);
    }
}

/* What a real shell makes of the line, each word with a NUL behind. */
static void run_shell(const char *line, struct str *ret)
{
    char buffer[4096];
    int fds[2], status;
    ssize_t n;
    pid_t pid;

    cr_assert(pipe(fds) == 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    while ((n = read(fds[0], buffer, sizeof buffer)) > 0)
        str_add_mem(ret, buffer, (size_t)n);
    close(fds[0]);
    cr_assert(waitpid(pid, &status, 0) == pid && status == 0);
}

Test(quote, shell_round_trip)
{
    auto_str struct str line = STR_INIT, wanted = STR_INIT, got = STR_INIT;
    const char *words[259] = {"printf", "%s\\0"};
    char texts[257][8];
    size_t n = 2;

    for (int c = 1; c < 256; c++) {
        char *word = texts[c];
        word[0] = (char)c;
        word[1] = c % 2 == 0 ? '\'' : 'x';
        word[2] = c % 3 == 0 ? (char)c : '\0';
        word[3] = '\0';
        words[n++] = word;
        str_add_mem(&wanted, word, strlen(word) + 1);
    }
    words[n++] = "";
    str_add_char(&wanted, '\0');
    quote_shell(&line, words, n);
    run_shell(str_text(&line), &got);
    cr_expect_eq(got.len, wanted.len);
    cr_expect(memcmp(got.ptr, wanted.ptr, wanted.len) == 0);
}

Test(quote, url)
{
    auto_str struct str out = STR_INIT;

    quote_url(&out, "/a b/../%2F?x=1&y#z+\xc3\xa9~-._");
    expect_text(&out, "%2Fa%20b%2F..%2F%252F%3Fx%3D1%26y%23z%2B%C3%A9~-._");
}

/* ---- tables ---- */

Test(table, aligns_and_cleans)
{
    static const struct table_column columns[] = {{"ID", false}, {"N", true}, {"STATE", false}};
    auto_str struct str out = STR_INIT;
    auto_table struct table t;

    (void)setlocale(LC_CTYPE, "C.UTF-8");
    table_init(&t, columns, ARRAY_LEN(columns));
    table_add(&t, "h\xc3\xa9h\xc3\xa9");
    table_addf(&t, "%d", 12345);
    table_add_state(&t, "started");
    table_add(&t, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"); /* three characters, two columns each */
    table_add(&t, NULL);
    table_add_state(&t, "");
    table_add(&t, "a\033[1m\nb\xff");
    table_print(&t, false, &out);
    expect_text(&out, "ID                     N  STATE\n"
                      "h\xc3\xa9h\xc3\xa9               12345  started\n"
                      "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e                 -  -\n"
                      "a\\x1b[1m\\x0ab\\xff      -  -\n");
}

Test(table, colours)
{
    static const struct table_column columns[] = {{"STATE", false}, {"X", false}};
    auto_str struct str out = STR_INIT;
    auto_table struct table t;

    table_init(&t, columns, ARRAY_LEN(columns));
    table_add_state(&t, "error");
    table_add(&t, "x");
    table_print(&t, true, &out);
    expect_text(&out, "STATE  X\n\033[31merror\033[0m  x\n");
    cr_expect_str_eq(table_state_colour("started"), "32");
    cr_expect_str_eq(table_state_colour("starting"), "33");
}

Test(table, empty_has_its_heading)
{
    static const struct table_column columns[] = {{"A", false}, {"B", true}};
    auto_str struct str out = STR_INIT;
    auto_table struct table t;

    table_init(&t, columns, ARRAY_LEN(columns));
    table_print(&t, true, &out);
    expect_text(&out, "A  B\n");
}

/* ---- text for people ---- */

Test(output, clean)
{
    static const struct {
        const char *text;
        bool keep_lines;
        const char *wanted;
    } cases[] = {{"a\tb\n", true, "a\tb\n"},
                 {"a\tb\n", false, "a\\x09b\\x0a"},
                 {"\r\x7f", true, "\\x0d\\x7f"},
                 {"\xc2\x9b"
                  "31m",
                  true, "\\xc2\\x9b31m"}, /* C1 CSI */
                 {"\xc2\xa0\xe2\x82\xac\xf0\x9f\x98\x80", false, "\xc2\xa0\xe2\x82\xac\xf0\x9f\x98\x80"},
                 {"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82", false,
                  "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xe2\\x82"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str struct str out = STR_INIT;
        output_add_clean(&out, cases[i].text, cases[i].keep_lines);
        expect_text(&out, cases[i].wanted);
    }
}

Test(output, size_and_age)
{
    static const struct {
        int64_t size_bytes;
        const char *wanted;
    } sizes[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {3LL << 30, "3.0 GiB"}};
    static const struct {
        const char *time;
        const char *wanted;
    } ages[] = {{"1970-01-01T00:16:40Z", "0s"},
                {"1970-01-01T00:16:00.5Z", "40s"},
                {"1970-01-01T00:00:00Z", "16m"},
                {"1969-12-31T20:00:00.123456Z", "4h"},
                {"1969-12-25T00:00:00Z", "7d"},
                {"1970-01-01T01:00:00Z", "-"},
                {"1970-01-01T00:16:40+01:00", "-"},
                {"yesterday", "-"},
                {"", "-"},
                {NULL, "-"}};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        auto_str struct str out = STR_INIT;
        output_add_size(&out, sizes[i].size_bytes);
        expect_text(&out, sizes[i].wanted);
    }
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        auto_str struct str out = STR_INIT;
        output_add_age(&out, ages[i].time, 1000);
        expect_text(&out, ages[i].wanted);
    }
}

Test(progress, line)
{
    auto_str struct str time_only = STR_INIT, bytes = STR_INIT, known = STR_INIT;

    progress_add_line(&time_only, "create x", 12345, 0, 0);
    expect_text(&time_only, "create x  12.3 s");
    progress_add_line(&bytes, "put x", 2000, 4096, 0);
    expect_text(&bytes, "put x  2.0 s  4.0 KiB  2.0 KiB/s");
    progress_add_line(&known, "get \033", 1000, 512, 2048);
    expect_text(&known, "get \\x1b  1.0 s  512 B of 2.0 KiB (25%)  512 B/s");
}

static void expect_reason(long status, const char *body_text, const char *wanted)
{
    auto_str struct str out = STR_INIT, body = STR_INIT;

    str_add(&body, body_text);
    ctl_add_reason(&out, status, &body);
    expect_text(&out, wanted);
}

Test(ctl, reason)
{
    static const struct {
        const char *body, *wanted;
    } cases[] = {{"{\"statusCode\":404,\"message\":\"not found: x\"}", "not found: x"},
                 {"{\"message\":\"{\\\"errorReason\\\":\\\"disk full\\\",\\\"recoverable\\\":true}\"}", "disk full"},
                 {"{\"message\":\"{oops\"}", "{oops"},
                 {"{\"error\":\"from a daemon\"}", "from a daemon"},
                 {"{\"message\":7}", "HTTP status 500"},
                 {"\"text\"", "HTTP status 500"},
                 {"", "HTTP status 500"},
                 {"404 page not found\r\nmore", "HTTP status 500: 404 page not found"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_reason(500, cases[i].body, cases[i].wanted);
    expect_reason(
        502, "",
        "HTTP status 502: what was asked for in the sandbox cannot be reached; 'runnerctl info' and 'runnerctl log' "
        "may tell why");
    expect_reason(504, "oops", "HTTP status 504: oops");
}

/* ---- options ---- */

struct values {
    bool is_force, is_all;
    const char *text;
    int64_t number, time_ms;
    struct words list;
};

static int parse(struct values *v, const struct options *base, char **argv, struct words *operands, struct words *rest,
                 struct runner_error *err)
{
    const struct option_spec own[] = {{'f', "force", NULL, "", OPTION_FLAG, &v->is_force, 0, 0},
                                      {'a', "all", NULL, "", OPTION_FLAG, &v->is_all, 0, 0},
                                      {'t', "text", "TEXT", "", OPTION_TEXT, &v->text, 0, 0},
                                      {'n', "number", "N", "", OPTION_INT, &v->number, 1, 10},
                                      {0, "time", "TIME", "", OPTION_MSEC, &v->time_ms, 0, 0},
                                      {'l', "list", "WORD", "", OPTION_WORDS, &v->list, 0, 0}};
    struct options options = *base;
    int argc = 0;

    while (argv[argc] != NULL)
        argc++;
    options.own = own;
    options.n_own = ARRAY_LEN(own);
    return options_parse(&options, argc, argv, operands, rest, err);
}

#define ARGV(...) ((char *[]){__VA_ARGS__, NULL})

Test(options, all_forms)
{
    auto_words struct words operands = {NULL, 0};
    struct values v = {.text = NULL};
    char *argv[] = {(char[]){"x"},       (char[]){"-fan"},
                    (char[]){"7"},       (char[]){"--text=a=b"},
                    (char[]){"-l1"},     (char[]){"y"},
                    (char[]){"--list"},  (char[]){"-2"},
                    (char[]){"--time"},  (char[]){"5s"},
                    (char[]){"-"},       (char[]){"--"},
                    (char[]){"--force"}, NULL};

    cr_assert(parse(&v, &(struct options){.has_rest = false}, argv, &operands, NULL, NULL) == 0);
    cr_expect(v.is_force && v.is_all);
    cr_expect_str_eq(v.text, "a=b");
    cr_expect_eq(v.number, 7);
    cr_expect_eq(v.time_ms, 5000);
    cr_assert_eq(v.list.n, 2);
    cr_expect_str_eq(v.list.ptr[0], "1");
    cr_expect_str_eq(v.list.ptr[1], "-2");
    cr_assert_eq(operands.n, 4);
    cr_expect_str_eq(operands.ptr[2], "-");
    cr_expect_str_eq(operands.ptr[3], "--force");
    words_done(&v.list);
}

Test(options, rest_is_left_alone)
{
    auto_words struct words operands = {NULL, 0}, rest = {NULL, 0};
    struct values v = {.text = NULL};
    char *argv[] = {
        (char[]){"-f"}, (char[]){"id"}, (char[]){"-a"}, (char[]){"ls"}, (char[]){"-t"}, (char[]){"--"}, NULL};

    cr_assert(parse(&v, &(struct options){.has_rest = true, .rest_after = 1}, argv, &operands, &rest, NULL) == 0);
    cr_expect(v.is_force && v.is_all && v.text == NULL);
    cr_expect_eq(operands.n, 1);
    cr_assert_eq(rest.n, 3);
    cr_expect_str_eq(rest.ptr[0], "ls");
    cr_expect_str_eq(rest.ptr[2], "--");
}

Test(options, refusals)
{
    static const struct {
        const char *words[2];
        const char *message;
    } cases[] = {{{"--forze", NULL}, "unknown option --forze (did you mean --force?)"},
                 {{"--xyzzy", NULL}, "unknown option --xyzzy"},
                 {{"-x", NULL}, "unknown option -x"},
                 {{"--force=1", NULL}, "--force takes no value"},
                 {{"--text", NULL}, "--text needs a value: TEXT"},
                 {{"-n", "11"}, "--number: '11' is not a number from 1 to 10"},
                 {{"--time", "5"}, "--time: '5' is not a time like 30s or 5m"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_words struct words operands = {NULL, 0};
        struct values v = {.text = NULL};
        struct runner_error err = ERROR_INIT;
        auto_free char *first = mem_dup(cases[i].words[0]);
        auto_free char *second = mem_dup(cases[i].words[1]);
        cr_expect(parse(&v, &(struct options){.has_rest = false}, ARGV(first, second), &operands, NULL, &err) < 0);
        cr_expect_str_eq(err.message, cases[i].message);
    }
}

Test(create, env)
{
    const char *words[] = {"A=1", "AB=2", "_x=", "A=3=4"};
    const char *bad[] = {"A", "=1", "1A=2", "A B=1", ""};
    auto_str struct str out = STR_INIT;

    cr_assert(create_add_env(&out, NULL, &(struct words){words, ARRAY_LEN(words)}, NULL) == 0);
    expect_text(&out, "{\"AB\":\"2\",\"_x\":\"\",\"A\":\"3=4\"}");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        auto_str struct str ignored = STR_INIT;
        cr_expect(create_add_env(&ignored, NULL, &(struct words){&bad[i], 1}, NULL) < 0, "%s", bad[i]);
    }
}

/* ---- following a log ---- */

Test(follow, prints_each_byte_once)
{
    auto_str struct str log = STR_INIT, got = STR_INIT;
    struct follow f = {.all_bytes = 0};
    unsigned seed = 1;

    for (int round = 0; round < 400; round++) {
        size_t len = (seed = seed * 1103515245 + 12345) / 65536 % 1500, start, at;
        for (size_t i = 0; i < len; i++)
            str_add_char(&log, (char)('a' + (seed = seed * 1103515245 + 12345) / 65536 % 3));
        start = log.len > FOLLOW_WINDOW ? log.len - FOLLOW_WINDOW : 0;
        at = follow_new(&f, str_text(&log) + start, log.len - start, log.len - start < FOLLOW_WINDOW);
        str_add_mem(&got, str_text(&log) + start + at, log.len - start - at);
    }
    cr_assert(log.len > 3 * FOLLOW_WINDOW);
    cr_expect_eq(got.len, log.len);
    cr_expect_str_eq(str_text(&got), str_text(&log));
    follow_done(&f);
}

Test(follow, corners)
{
    struct follow f = {.all_bytes = 0};

    cr_expect_eq(follow_new(&f, "", 0, true), 0);
    cr_expect_eq(follow_new(&f, "aaaa", 4, true), 0);
    cr_expect_eq(follow_new(&f, "aaaaa", 5, true), 4); /* repeats itself, its length tells */
    cr_expect_eq(follow_new(&f, "aaaaa", 5, true), 5);
    cr_expect_eq(follow_new(&f, "new log", 7, true), 0); /* began anew */
    cr_expect_eq(follow_new(&f, "log more", 8, false), 3);
    cr_expect_eq(follow_new(&f, "lost everything", 15, false), 0);
    follow_done(&f);
}
