/* core/http/head and auth: what a head may look like, and who may send it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/http/auth.h"
#include "core/http/forward.h"
#include "core/http/head.h"

static struct head head;
static const char *why;

static int request(const char *text)
{
    why = NULL;
    return head_parse_request(&head, text, strlen(text), 0, &why);
}

static int request_with(const char *fields)
{
    static char text[8192];

    (void)snprintf(text, sizeof text, "POST /x HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", fields);
    return request(text);
}

Test(head, request_parts)
{
    cr_assert_eq(request("GET /a?b HTTP/1.1\r\nHost: h\r\nX: \t y \r\n\r\nrest"), 0);
    cr_assert(head_is_method(&head, "GET") && !head_is_method(&head, "GE") && !head_is_method(&head, "get"));
    cr_assert_eq(head.target_len, 4);
    cr_assert_eq(head.len, strlen("GET /a?b HTTP/1.1\r\nHost: h\r\nX: \t y \r\n\r\n"));
    cr_assert_eq(head.field[1].value_len, 1);
    cr_assert_eq(head.body, BODY_NONE);
    cr_assert(!head.has_close && !head.has_upgrade);
}

Test(head, every_prefix_is_partial)
{
    const char *text = "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";

    for (size_t len = 0; len < strlen(text); len++)
        cr_expect_eq(head_parse_request(&head, text, len, len > 0 ? len - 1 : 0, &why), HEAD_PARTIAL, "%zu", len);
    cr_assert_eq(head_parse_request(&head, text, strlen(text), strlen(text) - 1, &why), 0);
}

Test(head, bad_fields)
{
    const char *bad[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 1234567890123456789",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "A: b\r\n c",
        "A: b\rc",
        "A: \x01",
        "Host: twice",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_eq(request_with(bad[i]), HEAD_BAD, "%s", bad[i]);
        cr_expect_not_null(why);
    }
}

Test(head, bodies)
{
    cr_assert_eq(request_with("Content-Length: 123456789012345678"), 0);
    cr_assert(head.body == BODY_LENGTH && head.length == 123456789012345678);
    cr_assert_eq(request_with("transfer-encoding: CHUNKED"), 0);
    cr_assert_eq(head.body, BODY_CHUNKED);
}

Test(head, request_lines)
{
    const char *bad[] = {"CONNECT h:1 HTTP/1.1", "GET * HTTP/1.1",          "GET x HTTP/1.1",
                         "G\"T / HTTP/1.1",      "GET http://h?x HTTP/1.1", "GET / HTTP/2.0"};
    char text[256];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(text, sizeof text, "%s\r\nHost: h\r\n\r\n", bad[i]);
        cr_expect_eq(request(text), HEAD_BAD, "%s", bad[i]);
    }
    cr_assert_eq(request("GET http://h/p?q HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
    cr_assert(head.target_len == 4 && memcmp(head.target, "/p?q", 4) == 0);
    cr_assert_eq(request("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
    cr_assert(head.target_len == 1 && head.target[0] == '/');
    cr_assert_eq(request("GET / HTTP/1.1\r\n\r\n"), HEAD_BAD, "no Host");
    cr_assert_eq(request("GET / HTTP/1.0\r\n\r\n"), 0);
}

Test(head, too_large)
{
    static char text[HEAD_MAX + 100];

    memset(text, 'x', sizeof text);
    memcpy(text, "GET /", 5);
    cr_assert_eq(head_parse_request(&head, text, HEAD_MAX, 0, &why), HEAD_PARTIAL);
    cr_assert_eq(head_parse_request(&head, text, HEAD_MAX + 1, 0, &why), HEAD_LARGE);
}

Test(head, dropped_fields)
{
    const struct {
        const char *name;
        bool is_dropped;
    } wanted[] = {{"A", true}, {"B", false}, {"Content-Length", false}, {"TE", true}, {"Host", false}};

    cr_assert_eq(
        request_with("A: 1\r\nB: 2\r\nConnection: a ,content-length,\thost,close\r\nContent-Length: 1\r\nTE: x"), 0);
    cr_assert(head.has_close);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        for (size_t j = 0; j < head.n; j++)
            if (strncmp(head.field[j].name, wanted[i].name, strlen(wanted[i].name)) == 0 &&
                head.field[j].name_len == strlen(wanted[i].name))
                cr_expect_eq(head.is_dropped[j], wanted[i].is_dropped, "%s", wanted[i].name);
    cr_assert_eq(request_with("Connection: upgrade"), 0);
    cr_assert(!head.has_upgrade, "nothing to upgrade to");
    cr_assert_eq(request_with("Connection: upgrade\r\nUpgrade: x"), 0);
    cr_assert(head.has_upgrade);
}

Test(head, responses)
{
    const struct {
        const char *text;
        int result;
        enum body_mode body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", 0, BODY_EOF},
        {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 0, BODY_LENGTH},
        {"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", 0, BODY_CHUNKED},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD_BAD, BODY_EOF},
        {"HTTP/1.1 099 OK\r\n\r\n", HEAD_BAD, BODY_EOF},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", HEAD_BAD, BODY_EOF},
        {"SSH-2.0-OpenSSH\r\n\r\n", HEAD_BAD, BODY_EOF},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int result = head_parse_response(&head, cases[i].text, strlen(cases[i].text), 0, &why);
        cr_expect_eq(result, cases[i].result, "%s", cases[i].text);
        if (result == 0)
            cr_expect_eq(head.body, cases[i].body, "%s", cases[i].text);
    }
}

Test(auth, tokens)
{
    const struct {
        const char *fields, *why;
        enum auth_header used;
    } cases[] = {
        {"A: b", "unauthorized: authorization header required", AUTH_NONE},
        {"Authorization:", "unauthorized: authorization header required", AUTH_NONE},
        {"Authorization: Basic s3cret", "unauthorized: invalid authorization header format", AUTH_NONE},
        {"Authorization: Bearer s3cret x", "unauthorized: invalid authorization header format", AUTH_NONE},
        {"Authorization: Bearer s3cre", "unauthorized: invalid token", AUTH_NONE},
        {"Authorization: Bearer s3cret", NULL, AUTH_AUTHORIZATION},
        {"X-Daytona-Authorization: Bearer s3cret\r\nAuthorization: Basic x", NULL, AUTH_RUNNER},
        {"X-Daytona-Authorization: Bearer x\r\nAuthorization: Bearer s3cret", "unauthorized: invalid token", AUTH_NONE},
    };
    enum auth_header used;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got;
        cr_assert_eq(request_with(cases[i].fields), 0);
        got = auth_check(&head, "s3cret", &used);
        if (cases[i].why != NULL)
            cr_expect_str_eq(got != NULL ? got : "accepted", cases[i].why, "%s", cases[i].fields);
        else
            cr_expect(got == NULL && used == cases[i].used, "%s", cases[i].fields);
        cr_expect_not_null(auth_check(&head, "", &used), "an empty token opens nothing");
        cr_expect_not_null(auth_check(&head, NULL, &used), "no token opens nothing");
    }
}

Test(forward, rebuilt_request)
{
    auto_str struct str out = STR_INIT;
    struct forward_request how = {
        .host = "g:1", .prefix = "/p", .target = "?q", .target_len = 2, .peer = "::1", .used = AUTH_AUTHORIZATION};

    cr_assert_eq(request_with("Authorization: Bearer x\r\nX-Forwarded-For: 1.1.1.1\r\nA:b\r\nUpgrade: z"), 0);
    forward_add_request(&out, &head, &how);
    cr_assert_str_eq(out.ptr, "POST /p/?q HTTP/1.1\r\nHost: g:1\r\nA: b\r\nX-Forwarded-For: 1.1.1.1, ::1\r\n\r\n");
}
