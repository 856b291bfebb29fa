/* Heads of images: those that disk/qcow2 writes itself, and what others may have written. */
#include <criterion/criterion.h>
#include <endian.h>
#include <string.h>

#include "core/util/error.h"
#include "plugins/disk/common/inspect.h"
#include "plugins/disk/qcow2/header.h"

#define GIB (INT64_C(1) << 30)

static void make(const char *backing, const char *format, struct str *ret)
{
    const struct qcow2_image image = {GIB, backing, format};
    auto_qcow2_file struct qcow2_file file = QCOW2_FILE_INIT;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(qcow2_header(&image, &file, &err), 0, "%s", err.message);
    str_add_mem(ret, file.parts[0].data.ptr, file.parts[0].data.len);
}

static int inspect(const struct str *head, struct inspected *ret, struct runner_error *err)
{
    return inspect_head(head->ptr, head->len, (int64_t)head->len, ret, err);
}

Test(qcow2_inspect, reads_what_the_plugin_writes)
{
    auto_str struct str head = STR_INIT;
    auto_inspected struct inspected found = {.size_bytes = 0};
    struct runner_error err = ERROR_INIT;

    make("/r/snapshots/base/disk.qcow2", "qcow2", &head);
    cr_assert_eq(inspect(&head, &found, &err), 0, "%s", err.message);
    cr_expect(found.is_qcow2);
    cr_expect_eq(found.size_bytes, GIB);
    cr_expect_str_eq(found.backing_path, "/r/snapshots/base/disk.qcow2");
    cr_expect_str_eq(found.backing_format, "qcow2");
}

Test(qcow2_inspect, raw_and_alone)
{
    auto_str struct str head = STR_INIT;
    auto_inspected struct inspected raw = {.size_bytes = 0}, alone = {.size_bytes = 0}, bad = {.size_bytes = 0};
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(inspect_head("abcd", 4, 1024, &raw, &err), 0, "%s", err.message);
    cr_expect(!raw.is_qcow2);
    cr_expect_eq(raw.size_bytes, 1024);
    cr_expect_eq(inspect_head("", 0, 0, &bad, &err), -1, "an empty file");
    cr_expect_eq(inspect_head("abcd", 4, 1023, &bad, &err), -1, "half a sector");
    make("/b", "raw", &head);
    memset(head.ptr + 8, 0, 12);
    cr_assert_eq(inspect(&head, &alone, &err), 0, "%s", err.message);
    cr_expect_null(alone.backing_path, "without a backing image");
}

/* A change of one number of the head. */
struct damage {
    size_t at, bytes;
    uint64_t value;
    const char *word; /* of the message */
};

static void spoil(struct str *head, const struct damage *damage)
{
    uint64_t wide = htobe64(damage->value);
    uint32_t narrow = htobe32((uint32_t)damage->value);

    if (damage->bytes == 8)
        memcpy(head->ptr + damage->at, &wide, sizeof wide);
    else
        memcpy(head->ptr + damage->at, &narrow, sizeof narrow);
}

Test(qcow2_inspect, refuses_what_is_wrong)
{
    static const struct damage cases[] = {
        {4, 4, 4, "version"},
        {4, 4, 0, "version"},
        {8, 8, 3, "place"},
        {8, 8, UINT64_MAX, "place"},
        {8, 8, 1 << 20, "place"},
        {16, 4, 0, "length of its backing"},
        {16, 4, 1024, "length of its backing"},
        {16, 4, UINT32_MAX, "length of its backing"},
        {20, 4, 8, "cluster size"},
        {20, 4, 22, "cluster size"},
        {24, 8, 0, "disk's size"},
        {24, 8, 513, "disk's size"},
        {24, 8, UINT64_MAX, "disk's size"},
        {32, 4, 2, "encryption"},
        {72, 8, 2, "features"},
        {72, 8, 4, "features"},
        {72, 8, UINT64_C(1) << 63, "features"},
        {100, 4, 0, "length of its head"},
        {100, 4, UINT32_MAX, "length of its head"},
        {108, 4, UINT32_MAX, "extension"},
        {104, 4, 0, "which format"},
        {112, 4, 0x716564, "nor qcow2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str struct str head = STR_INIT;
        auto_inspected struct inspected found = {.size_bytes = 0};
        struct runner_error err = ERROR_INIT;

        make("/base", "raw", &head);
        spoil(&head, &cases[i]);
        cr_expect_eq(inspect(&head, &found, &err), -1, "case %zu", i);
        cr_expect_eq(err.code, RUNNER_E_INVALID, "case %zu", i);
        cr_expect_not_null(strstr(err.message, cases[i].word), "case %zu: %s", i, err.message);
    }
}

Test(qcow2_inspect, dirty_and_old_ones_are_fine)
{
    auto_str struct str head = STR_INIT;
    auto_inspected struct inspected found = {.size_bytes = 0};
    struct runner_error err = ERROR_INIT;

    make("/base", "raw", &head);
    spoil(&head, &(struct damage){72, 8, 1, ""});
    cr_expect_eq(inspect(&head, &found, &err), 0, "%s", err.message);
}

Test(qcow2_inspect, what_is_no_file_is_no_backing_image)
{
    static const char *const names[] = {"json:{}", "nbd://h/", "a:b"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        auto_str struct str head = STR_INIT;
        auto_inspected struct inspected found = {.size_bytes = 0};
        struct runner_error err = ERROR_INIT;
        size_t len = strlen(names[i]);

        make("/12345678", "raw", &head);
        memcpy(head.ptr + head.len - 9, names[i], len);
        spoil(&head, &(struct damage){16, 4, len, ""});
        cr_expect_eq(inspect(&head, &found, &err), -1, "%s", names[i]);
        cr_expect_not_null(strstr(err.message, "is no file"), "%s", err.message);
    }
}

Test(qcow2_inspect, every_cut_is_refused)
{
    auto_str struct str head = STR_INIT;
    struct runner_error err = ERROR_INIT;

    make("/base", "qcow2", &head);
    for (size_t len = 4; len < head.len; len++) {
        auto_inspected struct inspected found = {.size_bytes = 0};
        auto_free char *exact = mem_dup_n(head.ptr, len); /* so that a sanitizer sees what is read behind it */

        cr_expect_eq(inspect_head(exact, len, GIB, &found, &err), -1, "of %zu bytes", len);
    }
}
