/* What an older runner's files say; see also t/run/77-foreign.t. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/foreign.h"

static int read_record(const char *text, struct foreign *ret, struct runner_error *err)
{
    return foreign_read_record(text, strlen(text), "sb-1", ret, err);
}

Test(foreign, forms)
{
    static const struct {
        const char *text;
        int form; /* -1: refused */
    } cases[] = {
        {"{\"cpus\": 2}", FOREIGN_RECORD},
        {"{\"cpus\": {}}", FOREIGN_CONFIG},
        {"{\"cpus\": 2.5}", -1},
        {"{\"cpus\": \"2\"}", -1},
        {"{\"cpus\": null}", -1},
        {"{\"cpus\": [2]}", -1},
        {"{\"cpus\": 1, \"cpus\": 2}", -1},
        {"{}", -1},
        {"[]", -1},
        {"2", -1},
        {"", -1},
        {"{\"cpus\": 2", -1},
        {"{\"cpus\": 2} x", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;
        enum foreign_form form = FOREIGN_RECORD;
        int status = foreign_form(cases[i].text, strlen(cases[i].text), &form, &err);

        cr_expect_eq(status, cases[i].form < 0 ? -1 : 0, "%s", cases[i].text);
        if (status == 0)
            cr_expect_eq((int)form, cases[i].form, "%s", cases[i].text);
        else
            cr_expect(strncmp(err.message, "config.json: ", 13) == 0, "%s", err.message);
    }
}

Test(foreign, a_record)
{
    auto_foreign struct foreign f = FOREIGN_INIT;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(
        read_record("{\"sandboxId\":\"sb-1\",\"cpus\":4,\"memoryMB\":3072,\"storageGB\":20,\"snapshot\":\"org/a.1\","
                    "\"createdAt\":\"2026-01-21T10:11:12.5+02:00\",\"guestIP\":\"10.0.0.9\",\"unknown\":[1]}",
                    &f, &err),
        0, "%s", err.message);
    cr_expect_eq(f.cpus, 4);
    cr_expect_eq(f.memory_bytes, INT64_C(3) << 30);
    cr_expect_str_eq(f.snapshot, "org/a.1");
    cr_expect_eq(f.created_ms, INT64_C(1768983072000));
    cr_expect_str_eq(f.address, "10.0.0.9");
}

Test(foreign, memory_in_its_units)
{
    static const struct {
        const char *member;
        int64_t bytes; /* 0: refused */
    } cases[] = {
        {"\"memoryMB\":1", INT64_C(1) << 20},
        {"\"memory_mb\":2048", INT64_C(2) << 30},
        {"\"memoryMiB\":2048", INT64_C(2) << 30},
        {"\"memory\":2", INT64_C(2) << 30},
        {"\"memory\":1023", INT64_C(1023) << 30},
        {"\"memory\":1024", INT64_C(1) << 30},
        {"\"memory\":1073741824", INT64_C(1) << 30},
        {"\"memoryMB\":16777216", INT64_C(1) << 44},
        {"\"memoryMB\":16777217", 0},
        {"\"memoryMB\":9223372036854775807", 0},
        {"\"memoryMB\":0", 0},
        {"\"memoryMB\":-5", 0},
        {"\"memoryMB\":1.5", 0},
        {"\"memoryMB\":\"1024\"", 0},
        {"\"memoryMB\":null", 0},
        {"\"x\":1", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_foreign struct foreign f = FOREIGN_INIT;
        auto_free char *text = mem_printf("{\"cpus\":1,%s}", cases[i].member);
        struct runner_error err = ERROR_INIT;

        cr_expect_eq(read_record(text, &f, &err), cases[i].bytes == 0 ? -1 : 0, "%s", text);
        cr_expect_eq(f.memory_bytes, cases[i].bytes, "%s", text);
        if (cases[i].bytes == 0)
            cr_expect_not_null(strstr(err.message, "memory"), "%s", err.message);
    }
}

Test(foreign, records_that_are_refused)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"{\"cpus\":0,\"memoryMB\":1}", "config.json: cpus"},
        {"{\"cpus\":255,\"memoryMB\":1}", "config.json: cpus"},
        {"{\"sandboxId\":\"sb-2\",\"cpus\":1,\"memoryMB\":1}", "config.json: sandboxId"},
        {"{\"id\":1,\"cpus\":1,\"memoryMB\":1}", "config.json: id"},
        {"{\"cpus\":1,\"memoryMB\":1,\"snapshot\":\"a/../b\"}", "config.json: snapshot"},
        {"{\"cpus\":1,\"memoryMB\":1,\"snapshot\":1}", "config.json: snapshot"},
        {"{\"cpus\":1,\"memoryMB\":1,\"guestIP\":\"::1\"}", "config.json: guestIP"},
        {"{\"cpus\":1,\"memoryMB\":1,\"ip\":\"1.2.3.4.5.6.7.8.9.10\"}", "config.json: ip"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_foreign struct foreign f = FOREIGN_INIT;
        struct runner_error err = ERROR_INIT;

        cr_expect_eq(read_record(cases[i].text, &f, &err), -1, "%s", cases[i].text);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
        cr_expect_not_null(strstr(err.message, cases[i].word), "%s", err.message);
    }
}

Test(foreign, times_that_are_none)
{
    static const char *const texts[] = {"",
                                        "yesterday",
                                        "2026-01-21",
                                        "2026-01-21T10:11:12",
                                        "2026-01-21T10:11:12 Z",
                                        "1960-01-01T00:00:00Z",
                                        "0001-01-01T00:00:00Z"};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        auto_foreign struct foreign f = FOREIGN_INIT;
        auto_free char *text = mem_printf("{\"cpus\":1,\"memoryMB\":1,\"createdAt\":\"%s\"}", texts[i]);
        struct runner_error err = ERROR_INIT;

        cr_expect_eq(read_record(text, &f, &err), 0, "%s", err.message);
        cr_expect_eq(f.created_ms, 0, "%s", text);
    }
}

Test(foreign, addresses)
{
    static const struct {
        const char *text, *address; /* NULL: refused */
    } cases[] = {
        {"10.0.0.5\n", "10.0.0.5"},
        {"10.0.0.5/24\n", "10.0.0.5"},
        {"10.0.0.5 \r\n", "10.0.0.5"},
        {"10.0.0.256", NULL},
        {"10.0.0", NULL},
        {"", NULL},
        {"\n", NULL},
        {"10.0.0.5/", NULL},
        {"10.0.0.5/33", NULL},
        {"10.0.0.5/24/1", NULL},
        {"10.0.0.5\n10.0.0.6", NULL},
        {" 10.0.0.5", NULL},
        {"$(reboot)", NULL},
        {"::1", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_foreign struct foreign f = FOREIGN_INIT;
        struct runner_error err = ERROR_INIT;

        cr_expect_eq(foreign_read_ip(cases[i].text, strlen(cases[i].text), &f, &err), cases[i].address != NULL ? 0 : -1,
                     "'%s'", cases[i].text);
        cr_expect_str_eq(f.address, cases[i].address != NULL ? cases[i].address : "", "'%s'", cases[i].text);
    }
}

Test(foreign, what_a_vmm_says_counts_more)
{
    auto_foreign struct foreign f = FOREIGN_INIT;
    struct runner_error err = ERROR_INIT;
    const struct runner_machine file = {.size = sizeof file,
                                        .cpus = 1,
                                        .memory_bytes = 1 << 30,
                                        .kernel = "/k1",
                                        .initramfs = "/i1",
                                        .cmdline = "one",
                                        .disk_path = "/d1",
                                        .tap = "tap-1",
                                        .mac = "02:00:00:00:00:01"},
                                live = {.size = sizeof live, .cpus = 2, .kernel = "/k2", .tap = "tap-2"},
                                bad = {.size = sizeof bad, .mac = "02-00-00-00-00-01"}, none = {.size = sizeof none};

    cr_assert_eq(foreign_take_machine(&f, &file, &err), 0);
    cr_assert_eq(foreign_take_machine(&f, &live, &err), 0);
    cr_assert_eq(foreign_take_machine(&f, &none, &err), 0);
    cr_expect_eq(f.cpus, 2);
    cr_expect_eq(f.memory_bytes, 1 << 30);
    cr_expect_str_eq(f.kernel, "/k2");
    cr_expect_null(f.initramfs, "one boot is not mixed from two");
    cr_expect_null(f.cmdline);
    cr_expect_str_eq(f.disk_path, "/d1");
    cr_expect_str_eq(f.tap, "tap-2");
    cr_expect_str_eq(f.mac, "02:00:00:00:00:01");
    cr_expect_eq(foreign_take_machine(&f, &bad, &err), -1);
}

Test(foreign, paths)
{
    static const struct {
        const char *path;
        bool is_own, is_good;
    } cases[] = {
        {"/r/sandboxes/sb-1/disk.raw", true, true},
        {"/r/sandboxes/sb-1/disk.raw", false, true},
        {"/r/sandboxes/sb-1/a/b", true, true},
        {"/r/sandboxes/sb-1", true, false},
        {"/r/sandboxes/sb-1/", true, false},
        {"/r/sandboxes/sb-1//disk.raw", true, false},
        {"/r/sandboxes/sb-1/./disk.raw", true, false},
        {"/r/sandboxes/sb-1/../sb-2/disk.raw", true, false},
        {"/r/sandboxes/sb-1/..", true, false},
        {"/r/sandboxes/sb-10/disk.raw", true, false},
        {"/r/sandboxes/sb-2/disk.raw", false, false},
        {"/r/snapshots/a/disk.raw", true, false},
        {"/r/snapshots/a/disk.raw", false, true},
        {"/r/kernels/vmlinux", false, true},
        {"/r/../etc/shadow", false, false},
        {"/rr/x", false, false},
        {"/etc/shadow", false, false},
        {"r/snapshots/a", false, false},
        {"", false, false},
        {"/", false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;

        cr_expect_eq(foreign_check_path("/r", "sb-1", "disk", cases[i].path, cases[i].is_own, &err),
                     cases[i].is_good ? 0 : -1, "%s: %s", cases[i].path, err.message);
    }
}

Test(foreign, snapshot_of_an_image)
{
    static const struct {
        const char *path, *ref;
    } cases[] = {
        {"/r/snapshots/base/disk.qcow2", "base"},
        {"/r/snapshots/org/base.1/disk.qcow2", "org/base.1"},
        {"/r/snapshots/base.1.qcow2", "base.1"},
        {"/r/images/base.img", NULL},
        {"/r/snapshots/../x/disk.raw", NULL},
        {"/r/snapshots/", NULL},
        {NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *ref = foreign_snapshot_of("/r", cases[i].path);

        cr_expect_str_eq(ref != NULL ? ref : "-", cases[i].ref != NULL ? cases[i].ref : "-", "%s", cases[i].path);
    }
}
