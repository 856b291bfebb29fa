/* Who runs as whom: no uid twice, none too soon again. */
#include "core/uids.h"

#include <criterion/criterion.h>

#include "core/util/cleanup.h"

Test(uids, each_once_and_the_longest_free_first)
{
    struct uids *uids = uids_new(100, 3);
    struct runner_error err = ERROR_INIT;
    uint32_t a, b, c, d;

    cr_assert_eq(uids_take(uids, &a, &err), 0);
    uids_release(uids, a);
    cr_assert_eq(uids_take(uids, &b, &err), 0);
    cr_assert_neq(a, b, "what a dead one left may still be there");
    cr_assert_eq(uids_take(uids, &c, &err), 0);
    cr_assert_eq(uids_take(uids, &d, &err), 0);
    cr_assert(a == 100 && b == 101 && c == 102 && d == 100);
    cr_assert_eq(uids_take(uids, &d, &err), -1);
    cr_assert_eq(err.code, RUNNER_E_NOSPACE);
    cr_assert_str_eq(err.message, "all 3 user ids of the host's uids are in use");
    uids_release(uids, 101);
    uids_release(uids, 101);
    cr_assert_eq(uids_take(uids, &d, &err), 0);
    cr_assert_eq(d, 101);
    uids_free(uids);
}

Test(uids, records_have_theirs)
{
    struct uids *uids = uids_new(100, 4);
    struct runner_error err = ERROR_INIT;
    uint32_t got;

    uids_adopt(uids, 100);
    uids_adopt(uids, 100);
    uids_adopt(uids, 102);
    uids_adopt(uids, 0);
    uids_adopt(uids, 99);
    uids_adopt(uids, 104);
    cr_assert(uids_take(uids, &got, &err) == 0 && got == 101);
    cr_assert(uids_take(uids, &got, &err) == 0 && got == 103);
    cr_assert_eq(uids_take(uids, &got, &err), -1);
    uids_release(uids, 0);
    uids_release(uids, 7);
    cr_assert_eq(uids_take(uids, &got, &err), -1);
    uids_free(uids);
}
