/* What vmm/cloud-hypervisor finds out about its program and its host, and what it plans, against a scripted host. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/common/probe-guest.h"

#define BOOT_ID  "11111111-2222-3333-4444-555555555555"
#define MANIFEST "{\"schema\":1,\"kernel\":\"vmlinux\",\"initramfs\":\"initramfs.img\",\"init\":\"runner-guestd\"}"
#define AS_USER  "uid=65534 gid=65534 groups_of=/dev/kvm"

const struct runner_plugin *runner_plugin_1(void);

static struct runner_error err = ERROR_INIT;
static void *self;

/* ---- the stage ---- */

/* The transport's answer to a STAT; fake_host_answer() cannot set a second number. */
static int on_stat(void *arg, const struct runner_step *step, struct runner_result *result, struct runner_error *e)
{
    (void)arg;
    (void)e;
    if (step->kind == RUNNER_STAT) {
        result->status = strcmp(step->path, "/r") != 0 && strcmp(step->path, "/opt/ch") != 0;
        result->number = 5000;
        result->number2 = 1700000000;
    }
    return 0;
}

static void setup_with(const char *probe, const char *landlock)
{
    const struct runner_value values[] = {{"binary", "/opt/ch", 0},
                                          {"probe", probe, 0},
                                          {"landlock", landlock, 0},
                                          {"probe_uid", NULL, 65534},
                                          {"probe_timeout", NULL, 10000}};

    fake_host_reset();
    fake_host_root("/r");
    fake_host_on_step(on_stat, NULL);
    runner_plugin_1()->destroy(self);
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    cr_assert_eq(runner_plugin_1()->create(values, ARRAY_LEN(values), &self, &err), 0, "%s", err.message);
}

static void setup(void)
{
    setup_with("kernel", "auto");
}

static void teardown(void)
{
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
    cr_expect_eq(fake_host_unused(), 0, "answers that nobody asked for; asked was:\n%s", fake_host_ran());
}

TestSuite(ch_check, .init = setup, .fini = teardown);

static void scene(bool has_kvm, const char *kept)
{
    fake_host_answer(RUNNER_READ, "boot_id", 0, 0, BOOT_ID "\n");
    fake_host_answer(RUNNER_READ, "/r/accel-cloud-hypervisor.json", kept == NULL, 0, kept);
    fake_host_answer(RUNNER_STAT, "/dev/kvm", !has_kvm, 0, NULL);
}

static void program(const char *version)
{
    fake_host_answer(RUNNER_RUN, "[/opt/ch][--version]", 0, 0, version);
}

#define V53 "cloud-hypervisor v53.0\nMigration Protocol Versions: 0\n"

static int check(void)
{
    return runner_plugin_1()->check(self, fake_call(), &err);
}

static void expect_fine(const char *description)
{
    const struct runner_vmm_ops *ops = runner_plugin_1()->ops;
    char text[200];

    cr_assert_eq(check(), 0, "%s", err.message);
    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_expect_str_eq(text, description);
}

static void expect_refusal(int code, const char *message)
{
    cr_expect_eq(check(), -1);
    cr_expect_eq(err.code, code, "%s", err.message);
    cr_expect_str_eq(err.message, message);
}

static void expect_ran(const char *part)
{
    cr_expect_not_null(strstr(fake_host_ran(), part), "'%s' is not in:\n%s", part, fake_host_ran());
}

static void expect_not_ran(const char *part)
{
    cr_expect_null(strstr(fake_host_ran(), part), "'%s' is in:\n%s", part, fake_host_ran());
}

/* ---- the program ---- */

Test(ch_check, describe_before)
{
    const struct runner_vmm_ops *ops = runner_plugin_1()->ops;
    char text[100];

    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_expect_str_eq(text, "cloud-hypervisor, not tried yet");
}

Test(ch_check, versions)
{
    static const struct {
        const char *text;
        bool is_version;
        int major, minor;
    } cases[] = {
        {"cloud-hypervisor v53.0\n", true, 53, 0},
        {"cloud-hypervisor v51.2.1-dirty x", true, 51, 2},
        {"cloud-hypervisor 53.0", false, 0, 0},
        {"cloud-hypervisor v53", false, 0, 0},
        {"cloud-hypervisor v", false, 0, 0},
        {"QEMU emulator version 7.2.22", false, 0, 0},
        {"", false, 0, 0},
        {"cloud-hypervisor v-3.-1", false, 0, 0},
        {"cloud-hypervisor v1.1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ch_facts facts = {0};

        cr_expect_eq(check_parse_version(cases[i].text, &facts), cases[i].is_version, "%s", cases[i].text);
        cr_expect_eq(facts.major, cases[i].major, "%s", cases[i].text);
        cr_expect_eq(facts.minor, cases[i].minor, "%s", cases[i].text);
    }
}

Test(ch_check, too_old)
{
    scene(true, NULL);
    program("cloud-hypervisor v51.1\n");
    expect_refusal(RUNNER_E_INVALID, "'/opt/ch' is v51.1, and v51.2 is the oldest that is safe");
    expect_not_ran("WRITE /r");
}

Test(ch_check, another_program)
{
    scene(true, NULL);
    program("GNU bash, version 5.2\n");
    expect_refusal(RUNNER_E_INVALID, "'/opt/ch --version' does not answer as Cloud Hypervisor does");
}

Test(ch_check, missing)
{
    scene(true, NULL);
    fake_host_refuse(RUNNER_RUN, "[--version]", RUNNER_E_NOTFOUND, "no such file");
    expect_refusal(RUNNER_E_NOTFOUND, "Cloud Hypervisor '/opt/ch': no such file");
}

/* ---- KVM ---- */

Test(ch_check, no_kvm)
{
    scene(false, NULL);
    program(V53);
    expect_refusal(RUNNER_E_NOTSUP, "KVM runs no guest here: there is no /dev/kvm");
    expect_not_ran("--kernel");
}

Test(ch_check, works)
{
    scene(true, NULL);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER "\n");
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_ran(AS_USER);
    expect_ran(
        "[/opt/ch][--seccomp][true][--cpus][boot=1][--memory][size=256M][--serial][tty][--console][off][--kernel]"
        "[/tmp/runner-probe-");
    expect_ran("\"probe\":\"kernel\",\"probeUid\":\"65534\",\"probeTimeoutMs\":\"10000\",\"landlock\":\"auto\","
               "\"seccomp\":\"true\",\"kvmDevice\":true,\"triedAtMs\":");
    expect_ran("\"version\":\"v53.0\",\"kvmWorks\":true,\"reason\":\"\",\"kernel\":\"\",\"landlockWorks\":true,");
    cr_expect_str_eq(fake_host_log(),
                     "info vmm.accel vmm=cloud-hypervisor version=v53.0 accel=kvm reason=it ran a guest "
                     "landlock=yes\n");
}

Test(ch_check, as_the_runner)
{
    const struct runner_value values[] = {{"binary", "/opt/ch", 0}, {"probe_uid", NULL, 0}};

    runner_plugin_1()->destroy(self);
    cr_assert_eq(runner_plugin_1()->create(values, ARRAY_LEN(values), &self, &err), 0);
    scene(true, NULL);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER "\n");
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_not_ran("uid=");
}

Test(ch_check, no_landlock)
{
    scene(true, NULL);
    program(V53);
    fake_host_refuse(RUNNER_RUN, "[--landlock]", RUNNER_E_IO, "exit status 1: partially incompatible");
    fake_host_answer(RUNNER_RUN, "[--kernel][/tmp/runner-probe-", 0, 0, PROBE_MARKER "\n");
    expect_fine("cloud-hypervisor v53.0, kvm, no landlock");
    cr_expect_not_null(strstr(fake_host_log(),
                              "warn vmm.no_landlock vmm=cloud-hypervisor reason=exit status 1: partially "
                              "incompatible\n"));
}

Test(ch_check, landlock_is_insisted_on)
{
    setup_with("kernel", "on");
    scene(true, NULL);
    program(V53);
    fake_host_refuse(RUNNER_RUN, "[--landlock]", RUNNER_E_IO, "partially incompatible");
    fake_host_answer(RUNNER_RUN, "[--kernel][/tmp/runner-probe-", 0, 0, PROBE_MARKER "\n");
    expect_refusal(RUNNER_E_NOTSUP, "landlock: on, but it does not work here: partially incompatible");
}

/* What is wrong with the device's owner may be mended any time: it is not kept. */
Test(ch_check, for_root_only)
{
    scene(true, NULL);
    program(V53);
    fake_host_refuse(RUNNER_RUN, AS_USER, RUNNER_E_IO, "Permission denied (os error 13)");
    fake_host_refuse(RUNNER_RUN, AS_USER, RUNNER_E_IO, "Permission denied (os error 13)");
    fake_host_answer(RUNNER_RUN, "[/opt/ch][--seccomp]", 0, 0, PROBE_MARKER "\n");
    expect_refusal(RUNNER_E_NOTSUP,
                   "KVM runs no guest here: it runs a guest for the runner's user, but not for one "
                   "without privileges, as which sandboxes run (Permission denied (os error 13)): chgrp kvm "
                   "/dev/kvm && chmod 660 /dev/kvm");
    expect_not_ran("WRITE /r");
}

/* A guest that hangs is tried once, and not again until the host boots. */
Test(ch_check, hangs)
{
    scene(true, NULL);
    program(V53);
    fake_host_refuse(RUNNER_RUN, "[--landlock]", RUNNER_E_TIMEOUT, "no end after 4000 ms");
    expect_refusal(RUNNER_E_NOTSUP, "KVM runs no guest here: no end after 4000 ms");
    expect_ran("\"kvmWorks\":false,\"reason\":\"no end after 4000 ms\"");
}

Test(ch_check, silent)
{
    setup_with("kernel", "off");
    scene(true, NULL);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--kernel]", 0, 0, "");
    expect_refusal(RUNNER_E_NOTSUP, "KVM runs no guest here: the guest ended without a word");
    expect_not_ran("--landlock");
}

/* The kernel of a snapshot has the last word. */
Test(ch_check, runs_no_kernel)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_LIST, "/r/snapshots", 0, 0, "tiny");
    fake_host_answer(RUNNER_READ, "/r/snapshots/tiny/manifest.json", 0, 0, MANIFEST);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER "\n");
    fake_host_refuse(RUNNER_RUN, "[--kernel][/r/snapshots/tiny/vmlinux][--initramfs][/r/snapshots/tiny/initramfs.img]",
                     RUNNER_E_TIMEOUT, "no end after 10000 ms");
    expect_refusal(RUNNER_E_NOTSUP,
                   "KVM runs no guest here: the kernel /r/snapshots/tiny/vmlinux does not run on it: no "
                   "end after 10000 ms");
    expect_ran("runner.probe");
    expect_ran("\"kvmWorks\":false");
}

Test(ch_check, tiny_only)
{
    setup_with("tiny", "auto");
    scene(true, NULL);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER "\n");
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_not_ran("LIST");
}

/* ---- without trying: what the kernel says ---- */

static void untried(const char *release, const char *list, const char *description)
{
    setup_with("none", "auto");
    scene(true, NULL);
    program(V53);
    fake_host_answer(RUNNER_READ, "/proc/sys/kernel/osrelease", 0, 0, release);
    fake_host_answer(RUNNER_READ, "/sys/kernel/security/lsm", list == NULL, 0, list);
    expect_fine(description);
    expect_not_ran("--kernel");
}

Test(ch_check, not_tried)
{
    untried("6.2.0\n", "lockdown,capability,landlock", "cloud-hypervisor v53.0, kvm");
    untried("6.18.44\n", NULL, "cloud-hypervisor v53.0, kvm");
    untried("6.1.0-18-amd64\n", "landlock", "cloud-hypervisor v53.0, kvm, no landlock");
    cr_expect_not_null(strstr(fake_host_log(), "reason=Linux 6.1.0-18-amd64, and 6.2 is needed"), "%s",
                       fake_host_log());
    untried("7.0.0\n", "capability,yama\n", "cloud-hypervisor v53.0, kvm, no landlock");
    cr_expect_not_null(strstr(fake_host_log(), "started without landlock (its list: capability,yama)"));
}

/* ---- the verdict kept ---- */

static void kept_at(char *text, size_t size, const char *version, const char *works, const char *landlock,
                    int64_t age_ms)
{
    cr_assert_lt(snprintf(text, size,
                          "{\"schema\":1,\"bootId\":\"" BOOT_ID "\",\"binary\":\"/opt/ch\",\"mtime\":1700000000,"
                          "\"size\":5000,\"probe\":\"kernel\",\"probeUid\":\"65534\",\"probeTimeoutMs\":\"10000\","
                          "\"landlock\":\"%s\",\"seccomp\":\"true\",\"kvmDevice\":true,\"triedAtMs\":%lld,"
                          "\"version\":\"%s\",\"kvmWorks\":%s,\"reason\":\"kept\",\"kernel\":\"\","
                          "\"landlockWorks\":true,\"landlockReason\":\"\"}",
                          landlock, (long long)(num_wall_ms() - age_ms), version, works),
                 (int)size);
}

static void kept(char *text, size_t size, const char *version, const char *works, const char *landlock)
{
    kept_at(text, size, version, works, landlock, 1000);
}

Test(ch_check, kept_verdict)
{
    char text[1000];

    kept(text, sizeof text, "v53.0", "true", "auto");
    scene(true, text);
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_not_ran("RUN");
    expect_not_ran("WRITE");
    kept(text, sizeof text, "v53.0", "false", "auto");
    scene(true, text);
    expect_refusal(RUNNER_E_NOTSUP, "KVM runs no guest here: kept");
    expect_not_ran("RUN");
}

Test(ch_check, stale_verdicts)
{
    char old[1000], other[1000], hour[1000], future[1000];
    const char *const stale[] = {"", "{", "{\"schema\":2}", old, other, hour, future};

    kept(old, sizeof old, "v50.0", "true", "auto");
    kept(other, sizeof other, "v53.0", "true", "off");
    kept_at(hour, sizeof hour, "v53.0", "false", "auto", 3601000);
    kept_at(future, sizeof future, "v53.0", "false", "auto", -60000);
    for (size_t i = 0; i < ARRAY_LEN(stale); i++) {
        scene(true, stale[i]);
        program(V53);
        fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER "\n");
        expect_fine("cloud-hypervisor v53.0, kvm");
    }
}

/* What works does so until the host boots. */
Test(ch_check, old_good_verdict)
{
    char text[1000];

    kept_at(text, sizeof text, "v53.0", "true", "auto", INT64_C(864000000));
    scene(true, text);
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_not_ran("RUN");
}

/* A KVM that ran the tiny guest only is tried again once there is a kernel. */
Test(ch_check, verdict_without_kernel)
{
    char text[1000];

    kept(text, sizeof text, "v53.0", "true", "auto");
    scene(true, text);
    fake_host_answer(RUNNER_LIST, "/r/snapshots", 0, 0, "tiny");
    fake_host_answer(RUNNER_READ, "/tiny/manifest.json", 0, 0, MANIFEST);
    program(V53);
    fake_host_answer(RUNNER_RUN, "[--landlock]", 0, 0, PROBE_MARKER);
    fake_host_answer(RUNNER_RUN, "/tiny/vmlinux", 0, 0, PROBE_MARKER);
    expect_fine("cloud-hypervisor v53.0, kvm");
    expect_ran("\"kernel\":\"/r/snapshots/tiny/vmlinux\"");
}

Test(ch_check, cancelled_is_no_verdict)
{
    scene(true, NULL);
    program(V53);
    fake_host_refuse(RUNNER_RUN, "[--landlock]", RUNNER_E_TIMEOUT, "deadline passed");
    fake_host_deadline(0);
    cr_expect_eq(check(), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT, "%s", err.message);
    expect_not_ran("WRITE /r");
}

Test(ch_check, kernel_without_initramfs)
{
    const struct runner_value values[] = {{"probe_kernel", "/k", 0}};
    void *other = NULL;

    cr_expect_eq(runner_plugin_1()->create(values, 1, &other, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_null(other);
}

Test(ch_check, probe_guest_has_a_pvh_entry)
{
    static const unsigned char note[] = {4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0};
    size_t size;
    const unsigned char *guest = probe_guest_pvh(&size);

    if (size == 0)
        cr_skip_test("the probe guest is x86-64 only");
    cr_assert_lt(size, 512);
    cr_expect_eq(memcmp(guest, "\177ELF\2\1\1", 7), 0);
    cr_expect_not_null(memmem(guest, size, note, sizeof note));
}

/* ---- plans ---- */

static struct runner_vm machine(void)
{
    return (struct runner_vm){.size = sizeof(struct runner_vm),
                              .id = "sb-1",
                              .dir = "/s",
                              .vmm_dir = "/s/vmm",
                              .socket_path = "/run/sb-1.sock",
                              .pid_path = "/s/vmm.pid",
                              .log_path = "/s/vmm.log",
                              .serial_path = "/s/serial.log",
                              .cpus = 1,
                              .max_cpus = 2,
                              .memory_bytes = 1 << 30,
                              .max_memory_bytes = 1 << 30,
                              .kernel = "/k"};
}

static void expect_plan(int (*plan)(void *, struct runner_call *, struct runner_batch *, const struct runner_vm *,
                                    struct runner_error *),
                        const struct runner_vm *vm, const char *expected)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    auto_free char *text = NULL;

    cr_assert_eq(plan(self, fake_call(), batch, vm, &err), 0, "%s", err.message);
    text = fake_batch_text(batch);
    cr_expect_str_eq(text, expected);
    fake_host()->batch_free(batch);
}

static void setup_plan(void)
{
    char text[1000];

    setup();
    kept(text, sizeof text, "v53.0", "true", "auto");
    scene(true, text);
    cr_assert_eq(check(), 0, "%s", err.message);
}

TestSuite(ch_plan, .init = setup_plan, .fini = teardown);

Test(ch_plan, spawn)
{
    const struct runner_vmm_ops *ops = runner_plugin_1()->ops;
    struct runner_vm vm = machine();

    vm.uid = vm.gid = 7;
    vm.cgroup = "sb-1";
    expect_plan(
        ops->spawn, &vm,
        "REMOVE /s/vmm.log undo: CGROUP_DEL sb-1\n"
        "REMOVE /s/vmm/vsock.sock +tree undo: REMOVE /run/sb-1.sock\n"
        "REMOVE /s/events undo: REMOVE /s/events\n"
        "SPAWN [/opt/ch][--api-socket][fd=3][--event-monitor][fd=4][--seccomp][true] pid=/s/vmm.pid "
        "output=/s/vmm.log uid=7 gid=7 groups_of=/dev/kvm nofile=4096 cgroup=sb-1 memory=1224736768 tasks=258 "
        "fds=3:listen:/run/sb-1.sock,4:fifo:/s/events undo: KILL /s/vmm.pid signal=9\n"
        "RENAME /s/serial.log -> /s/serial.log.1 +optional undo: RENAME /s/serial.log.1 -> /s/serial.log +optional\n"
        "WRITE /s/serial.log mode=0600 uid=7 gid=7 len=0 data=\"\" +excl +owned\n");
}

Test(ch_plan, cleanup)
{
    const struct runner_vmm_ops *ops = runner_plugin_1()->ops;
    struct runner_vm vm = machine();

    expect_plan(ops->cleanup, &vm,
                "REMOVE /run/sb-1.sock\nREMOVE /run/sb-1.sock.lock\nREMOVE /s/events\n"
                "REMOVE /s/vmm/vsock.sock +tree\n");
    vm.cgroup = "sb-1";
    expect_plan(ops->cleanup, &vm,
                "REMOVE /run/sb-1.sock\nREMOVE /run/sb-1.sock.lock\nREMOVE /s/events\n"
                "REMOVE /s/vmm/vsock.sock +tree\nCGROUP_DEL sb-1\n");
}

Test(ch_plan, user_network)
{
    const struct runner_vmm_ops *ops = runner_plugin_1()->ops;
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    struct runner_nic nic = {.size = sizeof nic, .kind = RUNNER_NIC_USER};
    const struct runner_nic *nics[] = {&nic};
    struct runner_vm vm = machine();

    vm.n_nics = 1;
    vm.nics = nics;
    cr_expect_eq(ops->spawn(self, fake_call(), batch, &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    cr_expect_eq(fake_batch_len(batch), 0);
    fake_host()->batch_free(batch);
}
