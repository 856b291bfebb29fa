/* guest/daemon: heads, bodies, routes, percent-decoding, the WebSocket handshake. */
#include <criterion/criterion.h>
#include <string.h>

#include "guest/daemon/router.h"
#include "guest/daemon/head.h"

#define REQUEST(text) "GET / HTTP/1.1\r\n" text "\r\n"

static int parse(const char *text, struct head *h, struct runner_error *err)
{
    return head_parse_request(text, strlen(text), h, err);
}

Test(head, a_request)
{
    struct runner_error err = ERROR_INIT;
    struct head h;

    cr_assert_eq(parse("PUT /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nX-A:  v w \t\r\nContent-Length: 12\r\nConnection: a, "
                       "Close\r\n\r\n",
                       &h, &err),
                 0, "%s", err.message);
    cr_expect_str_eq(h.method, "PUT");
    cr_expect_str_eq(h.path, "/a%20b?x=1&y");
    cr_expect_str_eq(h.query, "x=1&y");
    cr_expect_str_eq(head_get(&h, "x-a"), "v w");
    cr_expect(h.has_length && h.length == 12 && !h.is_keep_alive && !h.is_chunked);
    cr_expect(head_is_hop(&h, "a") && head_is_hop(&h, "TE") && !head_is_hop(&h, "X-A"));
    head_done(&h);
}

Test(head, keep_alive_by_version)
{
    struct runner_error err = ERROR_INIT;
    struct head h;

    cr_assert_eq(parse("GET / HTTP/1.0\r\n\r\n", &h, &err), 0);
    cr_expect_not(h.is_keep_alive);
    head_done(&h);
    cr_assert_eq(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &h, &err), 0);
    cr_expect(h.is_keep_alive);
    head_done(&h);
}

Test(head, what_is_ambiguous_is_refused)
{
    static const char *const bad[] = {
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\n\r\n\r\n",
        REQUEST("A: x\ny: z\r\n"),
        REQUEST("A: x\rB: z\r\n"),
        REQUEST("A : x\r\n"),
        REQUEST(" A: x\r\n"),
        REQUEST("A: x\r\n y\r\n"),
        REQUEST("no colon\r\n"),
        REQUEST(": x\r\n"),
        REQUEST("Content-Length: 1\r\nContent-Length: 1\r\n"),
        REQUEST("Content-Length: 1, 1\r\n"),
        REQUEST("Content-Length: +1\r\n"),
        REQUEST("Content-Length: -1\r\n"),
        REQUEST("Content-Length: \r\n"),
        REQUEST("Content-Length: 99999999999999999999\r\n"),
        REQUEST("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        REQUEST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        REQUEST("Transfer-Encoding: gzip, chunked\r\n"),
        REQUEST("Transfer-Encoding: xchunked\r\n"),
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct runner_error err = ERROR_INIT;
        struct head h = {.text = NULL};
        cr_expect_eq(parse(bad[i], &h, &err), -1, "taken: %s", bad[i]);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
        head_done(&h);
    }
}

Test(head, a_nul_and_too_many_fields)
{
    static const char nul[] = "GET / HTTP/1.1\r\nA: \0\r\n\r\n";
    auto_str struct str many = STR_INIT;
    struct runner_error err = ERROR_INIT;
    struct head h;

    cr_expect_eq(head_parse_request(nul, sizeof nul - 1, &h, &err), -1);
    str_add(&many, "GET / HTTP/1.1\r\n");
    for (int i = 0; i <= HEAD_FIELDS_MAX; i++)
        str_addf(&many, "A%d: x\r\n", i);
    str_add(&many, "\r\n");
    cr_expect_eq(head_parse_request(many.ptr, many.len, &h, &err), -1);
}

Test(head, queries)
{
    struct runner_error err = ERROR_INIT;
    struct head h;
    auto_free char *a = NULL, *b = NULL, *empty = NULL, *none = NULL, *bad = NULL, *nul = NULL;

    cr_assert_eq(parse("GET /?a=x+y%2B%26&b&%65=&c=%zz&d=%00 HTTP/1.1\r\n\r\n", &h, &err), 0);
    a = head_query(&h, "a");
    b = head_query(&h, "b");
    empty = head_query(&h, "e");
    none = head_query(&h, "none");
    bad = head_query(&h, "c");
    nul = head_query(&h, "d");
    cr_expect_str_eq(a, "x y+&");
    cr_expect_str_eq(b, "");
    cr_expect_str_eq(empty, "");
    cr_expect(none == NULL && bad == NULL && nul == NULL);
    head_done(&h);
}

Test(head, percent_at_the_end)
{
    cr_expect_null(head_decode("%", 1, false));
    cr_expect_null(head_decode("a%4", 3, false));
    auto_free char *last = head_decode("a%41", 4, false);
    cr_expect_str_eq(last, "aA");
}

/* ---- bodies ---- */

/* Feeds text byte by byte, and whole; both must give the same. */
static int take(struct body first, const char *text, size_t step, struct str *out, size_t *ret_left)
{
    struct evbuffer *in = evbuffer_new(), *taken = evbuffer_new();
    struct runner_error err = ERROR_INIT;
    size_t len = strlen(text);
    int status = 0;

    for (size_t at = 0; at < len && status == 0; at += step) {
        (void)evbuffer_add(in, text + at, step < len - at ? step : len - at);
        status = body_take(&first, in, taken, SIZE_MAX, &err);
    }
    str_clear(out);
    str_add_mem(out, evbuffer_pullup(taken, -1), evbuffer_get_length(taken));
    *ret_left = evbuffer_get_length(in);
    if (status == 0 && !first.is_done)
        status = 1;
    evbuffer_free(in);
    evbuffer_free(taken);
    return status;
}

Test(body, chunked)
{
    static const struct {
        const char *text, *body;
        size_t left;
        int status;
    } cases[] = {
        {"5\r\nhello\r\n0\r\n\r\n", "hello", 0, 0},
        {"5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nNEXT", "hello0123456789", 4, 0},
        {"0\r\n\r\n", "", 0, 0},
        {"5\r\nhel", "hel", 0, 1},
        {"5\nhello\r\n0\r\n\r\n", "", 0, -1},
        {"5\r\nhelloX\r\n", "hello", 0, -1},
        {"0x5\r\nhello", "", 0, -1},
        {"-1\r\n", "", 0, -1},
        {"\r\n", "", 0, -1},
        {"11111111111111111\r\n", "", 0, -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step < 100; step += 98) {
            auto_str struct str out = STR_INIT;
            size_t left;
            int status = take((struct body){.mode = BODY_CHUNKED}, cases[i].text, step, &out, &left);
            cr_expect_eq(status, cases[i].status, "%s by %zu: %d", cases[i].text, step, status);
            cr_expect_str_eq(str_text(&out), cases[i].body);
            if (status == 0)
                cr_expect_eq(left, cases[i].left);
        }
}

Test(body, length_and_end_of_connection)
{
    auto_str struct str out = STR_INIT;
    size_t left;

    cr_expect_eq(take((struct body){.mode = BODY_LENGTH, .left = 3}, "abcdef", 100, &out, &left), 0);
    cr_expect_str_eq(str_text(&out), "abc");
    cr_expect_eq(left, 3);
    cr_expect_eq(take((struct body){.mode = BODY_EOF}, "abcdef", 2, &out, &left), 1);
    cr_expect_str_eq(str_text(&out), "abcdef");
}

Test(body, which_answers_have_one)
{
    struct head h = {.status = 304, .has_length = true, .length = 5};
    struct body b;

    body_init_response(&b, &h, false);
    cr_expect(b.is_done);
    h.status = 200;
    body_init_response(&b, &h, true);
    cr_expect(b.is_done);
    body_init_response(&b, &h, false);
    cr_expect(!b.is_done && b.left == 5);
    h.has_length = false;
    body_init_response(&b, &h, false);
    cr_expect_eq(b.mode, BODY_EOF);
}

/* ---- routes ---- */

Test(router, patterns)
{
    static const struct route routes[] = {{"GET", "/a", INTAKE_COLLECT, NULL},
                                          {"POST", "/a/{x}/b/{y}", INTAKE_COLLECT, NULL},
                                          {NULL, "/p/{n}*", INTAKE_STREAM, NULL},
                                          {"GET", "/a/fixed", INTAKE_COLLECT, NULL},
                                          {"GET", "/a/{x}", INTAKE_COLLECT, NULL}};
    static const struct {
        const char *method, *path;
        int route; /* -1: none */
        const char *arg, *rest;
    } cases[] = {
        {"GET", "/a", 0, NULL, NULL},
        {"GET", "/a/", 0, NULL, NULL},
        {"GET", "/a?x", 0, NULL, NULL},
        {"POST", "/a", -1, NULL, NULL},
        {"GET", "/aa", -1, NULL, NULL},
        {"POST", "/a/1/b/2", 1, "1", NULL},
        {"POST", "/a//b/2", -1, NULL, NULL},
        {"POST", "/a/1%2F2/b/2?q", 1, "1/2", NULL},
        {"POST", "/a/%00/b/2", -1, NULL, NULL},
        {"DELETE", "/p/80", 2, "80", ""},
        {"GET", "/p/80/x%2F?q=1", 2, "80", "/x%2F?q=1"},
        {"GET", "/p/80?q", 2, "80", "?q"},
        {"GET", "/p/", -1, NULL, NULL},
        {"GET", "/a/fixed", 3, NULL, NULL},
        {"GET", "/a/other", 4, "other", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct exchange x = {.head = {.method = cases[i].method, .path = cases[i].path}};
        const struct route *r = router_match(&x, routes, ARRAY_LEN(routes));
        cr_expect_eq(r == NULL ? -1 : (int)(r - routes), cases[i].route, "%s %s", cases[i].method, cases[i].path);
        if (cases[i].arg != NULL)
            cr_expect_str_eq(x.args[0], cases[i].arg);
        if (cases[i].rest != NULL)
            cr_expect_str_eq(x.rest, cases[i].rest);
        for (size_t j = 0; j < EXCHANGE_ARGS; j++)
            free(x.args[j]);
    }
}
