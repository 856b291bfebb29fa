#include <criterion/criterion.h>

#include "core/recover-request.h"

static int read_body(const char *text, bool *ret_full, struct runner_error *err)
{
    auto_json struct json *body = NULL;

    if (text != NULL)
        cr_assert_eq(json_parse(text, strlen(text), &body, err), 0, "%s", err->message);
    return recover_request_read(body, ret_full, err);
}

/* The contract's patterns (1.2), in what went wrong, or else in what went wrong with the backup (9.4). */
Test(recover_request, which_reasons_ask_for_a_larger_disk)
{
    static const struct {
        const char *body;
        bool is_full;
    } cases[] = {
        {NULL, false},
        {"{}", false},
        {"{\"errorReason\":null,\"backupErrorReason\":null}", false},
        {"{\"errorReason\":\"write: No Space Left on device\"}", true},
        {"{\"errorReason\":\"Storage limit reached\"}", true},
        {"{\"errorReason\":\"disk quota exceeded - you may attempt a recovery action\"}", true},
        {"{\"errorReason\":\"its VMM ended\"}", false},
        {"{\"errorReason\":\"Job timed out - no update received for 10 minutes\"}", false},
        {"{\"errorReason\":\"it crashed\",\"backupErrorReason\":\"disk quota exceeded\"}", false},
        {"{\"errorReason\":\"\",\"backupErrorReason\":\"disk quota exceeded\"}", true},
        {"{\"backupErrorReason\":\"disk quota exceeded\",\"later\":1}", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct runner_error err = ERROR_INIT;
        bool is_full = !cases[i].is_full;

        cr_expect_eq(read_body(cases[i].body, &is_full, &err), 0, "%s", err.message);
        cr_expect_eq(is_full, cases[i].is_full, "%s", cases[i].body);
    }
}

Test(recover_request, what_is_no_text_is_refused)
{
    struct runner_error err = ERROR_INIT;
    bool is_full;

    cr_expect_eq(read_body("{\"errorReason\":7}", &is_full, &err), -1);
    cr_expect_str_eq(err.message, "errorReason: expected a string, found an integer");
}

/* A twentieth a time, a tenth in all, of what the disk is to have now. */
Test(recover_request, how_much_it_becomes)
{
    const int64_t gib = INT64_C(1) << 30, mib = INT64_C(1) << 20;

    cr_expect_eq(recover_extra(3 * gib, 0), 153 * mib);
    cr_expect_eq(recover_extra(3 * gib, 153 * mib), 306 * mib);
    cr_expect_eq(recover_extra(3 * gib, 306 * mib), -1);
    cr_expect_eq(recover_extra(10 * gib, 0), 512 * mib);
    cr_expect_eq(recover_extra(10 * gib, 512 * mib), gib);
    cr_expect_eq(recover_extra(10 * gib, gib), -1);
    cr_expect_eq(recover_extra(20 * gib, gib), 2 * gib, "resized meanwhile: the tenth is that of the new size");
    cr_expect_eq(recover_extra(10 * mib, 0), -1);
    cr_expect_eq(recover_extra(0, 0), -1);
}
