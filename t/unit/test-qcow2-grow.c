/* Heads of images that grow: what is written, and what is refused. That images which grew are whole is qemu-img's word, in
 * t/run/73-change.t. */
#include <criterion/criterion.h>
#include <endian.h>
#include <string.h>

#include "core/util/str.h"
#include "plugins/disk/common/grow.h"
#include "plugins/disk/qcow2/header.h"

#define GIB (INT64_C(1) << 30)
#define TIB (INT64_C(1) << 40)

/* The first clusters of an image of that size as the plugin makes it. */
static void make(int64_t size_bytes, struct str *ret)
{
    const struct qcow2_image image = {size_bytes, "/b", "raw"};
    auto_qcow2_file struct qcow2_file file = QCOW2_FILE_INIT;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(qcow2_header(&image, &file, &err), 0, "%s", err.message);
    str_reserve(ret, (size_t)file.size_bytes);
    memset(ret->ptr, 0, (size_t)file.size_bytes);
    ret->len = (size_t)file.size_bytes;
    for (size_t i = 0; i < QCOW2_PARTS; i++)
        memcpy(ret->ptr + file.parts[i].at, file.parts[i].data.ptr, file.parts[i].data.len);
}

static int grow(const struct str *head, int64_t to, struct runner_error *err)
{
    char bytes[GROW_BYTES];

    return grow_head(head->ptr, head->len, to, bytes, err);
}

/* A grown one is what one that was made so large would be. */
Test(qcow2_grow, the_same_head_as_of_a_larger_one)
{
    static const int64_t sizes[][2] = {{GIB, 2 * GIB}, {512, GIB}, {3 * GIB, 4 * TIB}, {GIB, GIB + 512}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        auto_str struct str head = STR_INIT, larger = STR_INIT;
        struct runner_error err = ERROR_INIT;
        char bytes[GROW_BYTES];

        make(sizes[i][0], &head);
        make(sizes[i][1], &larger);
        cr_assert_eq(grow_head(head.ptr, head.len, sizes[i][1], bytes, &err), 1, "%s", err.message);
        memcpy(head.ptr + GROW_AT, bytes, GROW_BYTES);
        cr_assert_eq(memcmp(head.ptr, larger.ptr, 104), 0);
        cr_assert_eq(grow(&head, sizes[i][1], &err), 0, "again");
    }
}

Test(qcow2_grow, refused)
{
    static const struct {
        int64_t from, to;
        int code;
    } cases[] = {{GIB, GIB / 2, RUNNER_E_INVALID},   {GIB, 0, RUNNER_E_INVALID},
                 {GIB, -512, RUNNER_E_INVALID},      {GIB, GIB + 1, RUNNER_E_INVALID},
                 {GIB, 17 * TIB, RUNNER_E_INVALID},  {GIB, 4 * TIB + 512, RUNNER_E_NOTSUP},
                 {5 * TIB, 9 * TIB, RUNNER_E_NOTSUP}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        auto_str struct str head = STR_INIT;
        struct runner_error err = ERROR_INIT;

        make(cases[i].from, &head);
        cr_expect_eq(grow(&head, cases[i].to, &err), -1, "case %zu", i);
        cr_expect_eq(err.code, cases[i].code, "case %zu: %s", i, err.message);
    }
}

Test(qcow2_grow, images_of_others)
{
    auto_str struct str head = STR_INIT;
    struct runner_error err = ERROR_INIT;

    make(GIB, &head);
    head.ptr[3 * 65536 + 8 * 2 + 7] = 1; /* behind the table, in its cluster */
    cr_expect_eq(grow(&head, 2 * GIB, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    head.ptr[3 * 65536 + 8 * 2 + 7] = 0;
    head.ptr[63] = 1; /* a snapshot within */
    cr_expect_eq(grow(&head, 2 * GIB, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    head.ptr[63] = 0;
    head.ptr[23] = 40;
    cr_expect_eq(grow(&head, 2 * GIB, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    for (size_t len = 0; len < 72; len++)
        cr_expect_eq(grow_head(head.ptr, len, 2 * GIB, (char[GROW_BYTES]){0}, &err), -1);
}
