/* core/http/body: where a body ends, whatever the pieces it comes in. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/http/body.h"

/* Feeds text in pieces of that size; bytes taken, or the error. */
static ssize_t feed(struct body *body, const char *text, size_t piece)
{
    size_t len = strlen(text), at = 0;

    while (at < len && !body->is_done) {
        ssize_t n = body_take(body, text + at, len - at < piece ? len - at : piece);
        if (n < 0)
            return n;
        at += (size_t)n;
    }
    return (ssize_t)at;
}

Test(body, chunked_in_any_pieces)
{
    const char *text = "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: v\r\n\r\n";
    char with_rest[128];

    (void)snprintf(with_rest, sizeof with_rest, "%sGET / HTTP/1.1", text);
    for (size_t piece = 1; piece < sizeof with_rest; piece++) {
        struct body body;
        body_init(&body, BODY_CHUNKED, 0, 0);
        cr_expect_eq(feed(&body, with_rest, piece), (ssize_t)strlen(text), "pieces of %zu", piece);
        cr_expect(body.is_done);
    }
}

Test(body, bad_chunks)
{
    const char *bad[] = {"5\nhello",     "-1\r\n", "0x5\r\n",  "1234567890123456\r\n", "5\r\nhelloX", "\r\n", ";\r\n",
                         "5\r\nhello\n", "g\r\n",  "0\r\nA\n", "5 x\x01\r\n",          "0\r\n\rX",    "5\rX"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t piece = 1; piece < 20; piece++) {
            struct body body;
            body_init(&body, BODY_CHUNKED, 0, 0);
            cr_expect_eq(feed(&body, bad[i], piece), BODY_BAD, "%s in pieces of %zu", bad[i], piece);
        }
}

Test(body, endless_extension)
{
    struct body body;
    ssize_t n = 0;

    body_init(&body, BODY_CHUNKED, 0, 0);
    cr_assert_eq(body_take(&body, "1;", 2), 2);
    for (int i = 0; i < 100000 && n >= 0; i++)
        n = body_take(&body, "x", 1);
    cr_assert_eq(n, BODY_BAD);
}

Test(body, limit)
{
    struct body body;

    body_init(&body, BODY_CHUNKED, 0, 10);
    cr_assert_eq(feed(&body, "5\r\nhello\r\n5\r\nworld\r\n", 100), 20);
    cr_assert_eq(feed(&body, "1\r\n", 100), BODY_LARGE);
}

Test(body, lengths)
{
    struct body body;

    body_init(&body, BODY_LENGTH, 5, 0);
    cr_assert_eq(body_take(&body, "abc", 3), 3);
    cr_assert_not(body.is_done);
    cr_assert_eq(body_take(&body, "defg", 4), 2);
    cr_assert(body.is_done);
    cr_assert_eq(body_take(&body, "g", 1), 0);
    body_init(&body, BODY_LENGTH, 0, 0);
    cr_assert(body.is_done);
    body_init(&body, BODY_NONE, 0, 0);
    cr_assert(body.is_done);
    body_init(&body, BODY_EOF, 0, 0);
    cr_assert_eq(body_take(&body, "abc", 3), 3);
    cr_assert_not(body.is_done);
}
