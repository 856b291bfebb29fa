/* core/http/reply: the contract's error body, to the byte but for the time. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/http/reply.h"
#include "core/util/json.h"

static struct json *error_of(int status, const char *code, const char *message, int *ret_status)
{
    auto_str struct str out = STR_INIT;
    struct reply_error error = {.status = status,
                                .code = code,
                                .message = message,
                                .path = "/sandboxes/xyz",
                                .path_len = 12,
                                .method = "POST",
                                .method_len = 4};
    struct json *json = NULL;
    struct runner_error err = ERROR_INIT;

    reply_add_error(&out, &error, ret_status);
    cr_assert_eq(json_parse(out.ptr, out.len, &json, &err), 0, "%s", err.message);
    return json;
}

Test(reply, error_body)
{
    const char *keys[] = {"statusCode", "message", "code", "timestamp", "path", "method"};
    int status, i = 0;
    auto_json struct json *json = error_of(409, "CONFLICT", "conflict: \"it\" exists", &status);

    cr_assert_eq(status, 409);
    for (const struct json *member = json->first; member != NULL; member = member->next)
        cr_expect_str_eq(member->key, keys[i++]);
    cr_assert_eq(i, 6);
    cr_assert_eq(json_int(json, "statusCode", 0), 409);
    cr_assert_str_eq(json_text(json, "message", ""), "conflict: \"it\" exists");
    cr_assert_str_eq(json_text(json, "path", ""), "/sandboxes/x");
    cr_assert_str_eq(json_text(json, "method", ""), "POST");
}

Test(reply, code_is_left_out_when_empty)
{
    int status;
    auto_json struct json *json = error_of(418, "", "x", &status);

    cr_assert_null(json_get(json, "code"));
}

Test(reply, recoverable)
{
    const char *messages[] = {"write: No space left on device", "STORAGE LIMIT reached", "Disk quota exceeded"};

    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        int status;
        auto_json struct json *json = error_of(500, "INTERNAL_SERVER_ERROR", messages[i], &status);
        auto_json struct json *inner = NULL;
        auto_free char *wanted = mem_printf("%s - you may attempt a recovery action", messages[i]);
        const char *text = json_text(json, "message", "");
        cr_assert_eq(status, 400);
        cr_assert_str_eq(json_text(json, "code", ""), "BAD_REQUEST");
        cr_assert_eq(json_int(json, "statusCode", 0), 400);
        cr_assert_eq(json_parse(text, strlen(text), &inner, NULL), 0);
        cr_assert_str_eq(json_text(inner, "errorReason", ""), wanted);
        cr_assert(json_bool(inner, "recoverable", false));
    }
}

Test(reply, times)
{
    auto_str struct str out = STR_INIT;

    reply_add_time(&out, INT64_C(951782400000007));
    cr_assert_str_eq(out.ptr, "2000-02-29T00:00:00.000007Z");
}

Test(reply, statuses)
{
    const struct {
        int code, status;
        const char *text;
    } cases[] = {
        {RUNNER_E_INVALID, 400, "BAD_REQUEST"},
        {RUNNER_E_NOTFOUND, 404, "NOT_FOUND"},
        {RUNNER_E_TIMEOUT, 408, "REQUEST_TIMEOUT"},
        {RUNNER_E_EXISTS, 409, "CONFLICT"},
        {RUNNER_E_BUSY, 409, "CONFLICT"},
        {RUNNER_E_NOTSUP, 501, "NOT_IMPLEMENTED"},
        {RUNNER_E_IO, 500, "INTERNAL_SERVER_ERROR"},
        {RUNNER_E_CANCELLED, 500, "INTERNAL_SERVER_ERROR"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect_eq(reply_status(cases[i].code), cases[i].status);
        cr_expect_str_eq(reply_code(cases[i].status), cases[i].text);
    }
}
