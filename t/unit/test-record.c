#include <criterion/criterion.h>

#include "core/record.h"

static struct record *sample(void)
{
    struct record *record = record_new("a1");
    struct runner_error err = ERROR_INIT;
    static const char request[] = "{\"id\":\"a1\",\"env\":{\"A\":\"1 \\\"x\\\"\"},\"n\":[1,null,true,2.5]}";

    record->state = SANDBOX_STARTED;
    record->created_ms = 1764000000123;
    record->taken_over_ms = 1764000000456;
    record->snapshot = mem_dup("docker.io/ubuntu:22.04");
    record->daemon_version = mem_dup("v1");
    record->cpus = 2;
    record->memory_bytes = INT64_C(3) << 30;
    record->disk_bytes = INT64_C(5) << 30;
    record->disk_extra_bytes = INT64_C(256) << 20;
    record->disk.path = mem_dup("/r/sandboxes/a1/disk.qcow2");
    record->disk.format = mem_dup("qcow2");
    record->disk.backing_path = mem_dup("/r/snapshots/x/disk.raw");
    record->disk.backing_format = mem_dup("raw");
    record->disk.size_bytes = INT64_C(5) << 30;
    record->nic = (struct runner_nic){.size = sizeof record->nic,
                                      .kind = RUNNER_NIC_TAP,
                                      .name = "tap-a1",
                                      .mac = "02:00:00:00:00:01",
                                      .address = "10.0.0.9",
                                      .gateway = "10.0.0.1",
                                      .prefix_len = 24,
                                      .guest_port = 2280,
                                      .guest_mac = "02:00:c0:00:00:02",
                                      .guest_address = "192.0.0.2",
                                      .guest_gateway = "192.0.0.1",
                                      .guest_prefix_len = 29};
    record->policy = (struct policy){true, true, mem_dup("10.0.0.0/8,192.0.2.0/24"), mem_dup("*.example.org")};
    record->boot.kernel = mem_dup("/r/snapshots/x/vmlinux");
    record->boot.cmdline = mem_dup("console=ttyS0");
    record->boot.has_daemon = true;
    record->vmm.plugin = mem_dup("qemu");
    record->vmm.cgroup = mem_dup("a1-00c0ffee");
    record->vmm.uid = 1900000007;
    cr_assert_eq(json_parse(request, sizeof request - 1, &record->request, &err), 0, "%s", err.message);
    return record;
}

/* D1: what is written is what is read, every member of it. */
Test(record, d01_round_trip_is_exact)
{
    auto_record struct record *record = sample(), *again = NULL;
    auto_str struct str first = STR_INIT, second = STR_INIT;
    struct runner_error err = ERROR_INIT;

    record_print(record, &first);
    cr_assert_eq(record_parse(first.ptr, first.len, "a1", &again, &err), 0, "%s", err.message);
    record_print(again, &second);
    cr_assert_str_eq(first.ptr, second.ptr);
    cr_assert_eq(again->memory_bytes, record->memory_bytes);
    cr_assert_eq(again->disk_extra_bytes, record->disk_extra_bytes);
    cr_assert_eq(again->taken_over_ms, record->taken_over_ms);
    cr_assert_str_eq(again->nic.mac, record->nic.mac);
    cr_assert_str_eq(again->nic.guest_address, record->nic.guest_address);
    cr_assert_eq(again->nic.guest_prefix_len, 29);
    cr_assert(again->boot.has_daemon);
    cr_assert_str_eq(again->vmm.plugin, "qemu");
    cr_assert_str_eq(again->vmm.cgroup, "a1-00c0ffee");
    cr_assert_eq(again->vmm.uid, 1900000007);
    cr_assert_eq(again->nic.uid, 1900000007, "the TAP is its VMM's");
}

Test(record, every_truncation_is_refused)
{
    auto_record struct record *record = sample();
    auto_str struct str text = STR_INIT;

    record_print(record, &text);
    for (size_t len = 0; len + 2 < text.len; len++) {
        struct record *again = NULL;
        struct runner_error err = ERROR_INIT;
        cr_assert_eq(record_parse(text.ptr, len, "a1", &again, &err), -1, "cut at %zu", len);
        cr_assert_eq(err.code, RUNNER_E_INVALID);
        cr_assert_null(again);
    }
}

Test(record, what_is_wrong_is_named)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[]", "record: top level: expected an object"},
        {"{\"schema\":2}", "record: schema: expected 1 (is this record of a newer runner-ch?)"},
        {"{\"schema\":1,\"id\":\"b\"}", "record: id: expected the name of its directory"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"odd\"}", "record: state: expected a state"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":-1}",
         "record: createdMs: expected an integer in its bounds"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":1,\"error\":7}",
         "record: error: expected a string"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":1,\"cpus\":1,\"memoryBytes\":1,"
         "\"diskBytes\":0,\"snapshot\":\"../x\"}",
         "record: snapshot: expected a snapshot reference"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":1,\"cpus\":1,\"memoryBytes\":1,"
         "\"diskBytes\":0,\"snapshot\":\"x\",\"disk\":{\"path\":\"x\"}}",
         "disk: record: path: expected an absolute path"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":1,\"cpus\":1,\"memoryBytes\":1,"
         "\"diskBytes\":0,\"snapshot\":\"x\",\"vmm\":{\"uid\":1,\"cgroup\":\"../x\"}}",
         "record: vmm.cgroup: expected a name"},
        {"{\"schema\":1,\"id\":\"a1\",\"state\":\"stopped\",\"createdMs\":1,\"cpus\":1,\"memoryBytes\":1,"
         "\"diskBytes\":0,\"snapshot\":\"x\",\"boot\":{\"cmdline\":\"x\"}}",
         "record: boot: expected a kernel and a cmdline, or firmware"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct record *record = NULL;
        struct runner_error err = ERROR_INIT;
        cr_assert_eq(record_parse(cases[i].text, strlen(cases[i].text), "a1", &record, &err), -1);
        cr_assert_str_eq(err.message, cases[i].message);
    }
}
