/* guest/daemon/multipart.c: the same parts however the bytes are cut. */
#include <criterion/criterion.h>
#include <string.h>

#include "guest/daemon/multipart.h"

#define TYPE "multipart/form-data; boundary=\"b-1\""

static int on_begin(void *arg, const char *name, const char *file_name, struct runner_error *err)
{
    (void)err;
    str_addf(arg, "<%s|%s>", name, file_name == NULL ? "-" : file_name);
    return 0;
}

static int on_data(void *arg, struct evbuffer *data, size_t n, struct runner_error *err)
{
    auto_free char *piece = mem_alloc(n);

    (void)err;
    (void)evbuffer_remove(data, piece, n);
    str_add_mem(arg, piece, n);
    return 0;
}

static int on_end(void *arg, struct runner_error *err)
{
    (void)err;
    str_add(arg, "</>");
    return 0;
}

static const struct multipart_handler handler = {on_begin, on_data, on_end};

/* 0: complete. 1: not. -1: refused. */
static int push(const char *text, size_t step, struct str *out)
{
    struct runner_error err = ERROR_INIT;
    struct evbuffer *data = evbuffer_new();
    struct multipart m;
    size_t len = strlen(text);
    int status = 0;

    cr_assert_eq(multipart_init(&m, TYPE, &handler, out, &err), 0, "%s", err.message);
    for (size_t at = 0; at < len && status == 0; at += step) {
        (void)evbuffer_add(data, text + at, step < len - at ? step : len - at);
        status = multipart_push(&m, data, &err);
    }
    if (status == 0 && !m.is_complete)
        status = 1;
    multipart_done(&m);
    evbuffer_free(data);
    return status;
}

Test(multipart, parts)
{
    static const struct {
        const char *text, *wanted;
        int status;
    } cases[] = {
        {"--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n--b-1--\r\n", "<a|->value</>", 0},
        {"preamble\r\n--b-1\r\ncontent-disposition: form-data; name=a; filename=\"f \\\"1\\\"\"\r\nContent-Type: "
         "x/y\r\n\r\n"
         "1\r\n--b-\r\n--b\r\n\r\n--b-1\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--b-1--epilogue",
         "<a|f \"1\">1\r\n--b-\r\n--b\r\n</><b|-></>", 0},
        {"--b-1--\r\n", "", 0},
        {"--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nval", "<a|->", 1},
        {"--b-1\r\nContent-Disposition: form-data\r\n\r\nval\r\n--b-1--", "", -1},
        {"--b-1\r\nX: y\r\n\r\nval\r\n--b-1--", "", -1},
        {"--b-1x\r\n", "", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step < 1000; step = step * 3 + 1) {
            auto_str struct str out = STR_INIT;
            int status = push(cases[i].text, step, &out);
            cr_expect_eq(status, cases[i].status, "case %zu by %zu: %d", i, step, status);
            if (status == 0)
                cr_expect_str_eq(str_text(&out), cases[i].wanted, "case %zu by %zu: %s", i, step, str_text(&out));
        }
}

Test(multipart, a_header_without_end)
{
    auto_str struct str text = STR_INIT, out = STR_INIT;

    str_add(&text, "--b-1\r\n");
    for (int i = 0; i < 9000; i++)
        str_add_char(&text, 'x');
    cr_expect_eq(push(str_text(&text), 100, &out), -1);
}

Test(multipart, content_types)
{
    static const char *const bad[] = {NULL,
                                      "",
                                      "text/plain; boundary=x",
                                      "multipart/form-data",
                                      "multipart/form-data; boundary=",
                                      "multipart/form-data; boundary=\"x",
                                      "multipart/form-data; boundary=01234567890123456789012345678901234567890123456789"
                                      "0123456789012345678901"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct runner_error err = ERROR_INIT;
        struct multipart m = {.held = NULL};
        cr_expect_eq(multipart_init(&m, bad[i], &handler, NULL, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
    }
}
