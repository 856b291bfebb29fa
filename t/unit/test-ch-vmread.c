/* Configurations that others wrote for a Cloud Hypervisor. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/util/error.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/vmread.h"

#define CPUS   "\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":4}"
#define MEMORY "\"memory\":{\"size\":1073741824}"

static int read_text(const char *text, struct runner_machine *ret, struct runner_error *err)
{
    struct ch ch = {.host = fake_host()};

    *ret = (struct runner_machine){.size = sizeof *ret};
    return vmread_text(&ch, text, strlen(text), ret, err);
}

static void text_is(const char *got, const char *wanted, const char *what)
{
    cr_expect_str_eq(got != NULL ? got : "-", wanted, "%s", what);
}

Test(vmread, all_of_it)
{
    struct runner_machine m;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(read_text("{" CPUS "," MEMORY
                           ",\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"quiet\",\"initramfs\":null},"
                           "\"disks\":[{\"path\":\"/d\"},{\"path\":\"/seed\",\"readonly\":true}],"
                           "\"net\":[{\"tap\":\"tap-x\",\"mac\":\"02:00:00:00:00:01\"}],\"devices\":[],\"fs\":null,"
                           "\"serial\":{\"mode\":\"Tty\"}}",
                           &m, &err),
                 0, "%s", err.message);
    cr_expect_eq(m.cpus, 2);
    cr_expect_eq(m.memory_bytes, 1 << 30);
    text_is(m.kernel, "/k", "kernel");
    text_is(m.cmdline, "quiet", "cmdline");
    text_is(m.initramfs, "-", "initramfs");
    text_is(m.disk_path, "/d", "disk");
    text_is(m.extra, "-", "nothing else");
    text_is(m.tap, "tap-x", "tap");
    text_is(m.mac, "02:00:00:00:00:01", "mac");
    vmread_release(fake_host(), &m);
    cr_expect_eq(fake_host_live(), 0);
}

Test(vmread, what_a_sandbox_has_no_place_for)
{
    static const struct {
        const char *members, *extra;
    } cases[] = {
        {"\"disks\":[{\"path\":\"/d\"},{\"path\":\"/e\"}]", "disks[1]"},
        {"\"disks\":[{\"path\":\"/s\",\"readonly\":true},{\"path\":\"/t\",\"readonly\":true}]", "disks[1]"},
        {"\"disks\":[{\"vhost_socket\":\"/v\"}]", "disks[0]"},
        {"\"net\":[{},{}]", "net[1]"},
        {"\"net\":[{\"vhost_user\":true}]", "net[0]"},
        {"\"devices\":[{\"path\":\"/sys/x\"}]", "devices"},
        {"\"fs\":[{\"tag\":\"x\"}]", "fs"},
        {"\"pmem\":[{\"file\":\"x\"}]", "pmem"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *text = mem_printf("{" CPUS "," MEMORY ",%s}", cases[i].members);
        struct runner_error err = ERROR_INIT;
        struct runner_machine m;

        cr_assert_eq(read_text(text, &m, &err), 0, "%s: %s", text, err.message);
        text_is(m.extra, cases[i].extra, text);
        vmread_release(fake_host(), &m);
    }
    cr_expect_eq(fake_host_live(), 0);
}

Test(vmread, zones_are_memory_too)
{
    struct runner_machine m;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(read_text("{" CPUS
                           ",\"memory\":{\"size\":0,\"zones\":[{\"id\":\"a\",\"size\":1048576},{\"size\":2097152}]}}",
                           &m, &err),
                 0, "%s", err.message);
    cr_expect_eq(m.memory_bytes, 3 << 20);
    text_is(m.extra, "memory.zones", "extra");
    vmread_release(fake_host(), &m);
}

Test(vmread, what_is_refused)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", ""},
        {"[]", "top level"},
        {"{}", "cpus"},
        {"{\"cpus\":2}", "cpus"},
        {"{\"cpus\":{\"boot_vcpus\":0}}", "cpus.boot_vcpus"},
        {"{\"cpus\":{\"boot_vcpus\":255}}", "cpus.boot_vcpus"},
        {"{\"cpus\":{\"boot_vcpus\":\"1\"}}", "cpus.boot_vcpus"},
        {"{" CPUS "}", "memory"},
        {"{" CPUS ",\"memory\":1}", "memory"},
        {"{" CPUS ",\"memory\":{\"size\":1024}}", "memory.size"},
        {"{" CPUS ",\"memory\":{\"size\":-1}}", "memory.size"},
        {"{" CPUS ",\"memory\":{\"size\":9223372036854775807}}", "memory.size"},
        {"{" CPUS ",\"memory\":{\"size\":0,\"zones\":[1]}}", "memory.zones"},
        {"{" CPUS "," MEMORY ",\"payload\":[]}", "payload"},
        {"{" CPUS "," MEMORY ",\"payload\":{\"kernel\":1}}", "payload.kernel"},
        {"{" CPUS "," MEMORY ",\"payload\":{\"cmdline\":\"a\\nb\"}}", "payload.cmdline"},
        {"{" CPUS "," MEMORY ",\"disks\":{}}", "disks"},
        {"{" CPUS "," MEMORY ",\"disks\":[1]}", "disks[0]"},
        {"{" CPUS "," MEMORY ",\"disks\":[{\"path\":\"/a\"},{\"path\":1}]}", "disks[1].path"},
        {"{" CPUS "," MEMORY ",\"net\":1}", "net"},
        {"{" CPUS "," MEMORY ",\"net\":[1]}", "net[0]"},
        {"{" CPUS "," MEMORY ",\"net\":[{\"tap\":\"tap-much-too-long\"}]}", "net[0].tap"},
        {"{" CPUS "," MEMORY ",\"net\":[{\"mac\":1}]}", "net[0].mac"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;
        struct runner_machine m;

        cr_expect_eq(read_text(cases[i].text, &m, &err), -1, "%s", cases[i].text);
        cr_expect_eq(err.code, RUNNER_E_INVALID, "%s", cases[i].text);
        cr_expect(strncmp(err.message, cases[i].word, strlen(cases[i].word)) == 0, "%s: %s", cases[i].text,
                  err.message);
        cr_expect_null(m.kernel, "untouched on failure");
    }
    cr_expect_eq(fake_host_live(), 0);
}

Test(vmread, out_of_memory)
{
    static const char text[] =
        "{" CPUS "," MEMORY ",\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"q\"},\"disks\":[{\"path\":\"/d\"}]}";

    for (int fails_after = 0;; fails_after++) {
        struct runner_error err = ERROR_INIT;
        struct runner_machine m;
        int status;

        fake_host_alloc_fails_after(fails_after);
        status = read_text(text, &m, &err);
        fake_host_alloc_fails_after(-1);
        if (status == 0) {
            vmread_release(fake_host(), &m);
            cr_expect_eq(fails_after, 3);
            break;
        }
        cr_assert_eq(err.code, RUNNER_E_NOMEM);
        cr_assert_eq(fake_host_live(), 0);
    }
}
