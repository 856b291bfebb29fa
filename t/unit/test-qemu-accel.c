/* vmm/qemu's choice of an accelerator, against a scripted host. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/common/probe-guest.h"
#include "plugins/vmm/qemu/accel.h"
#include "plugins/vmm/qemu/probe.h"
#include "kit/fake/host.h"
#include "plugins/vmm/qemu/diagnose.h"
#include "t/unit/findings.h"

#define BOOT_ID  "11111111-2222-3333-4444-555555555555"
#define VERSION  "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022\n"
#define MANIFEST "{\"schema\":1,\"kernel\":\"vmlinux\",\"initramfs\":\"initramfs.img\",\"init\":\"runner-guestd\"}"

static struct runner_error err = ERROR_INIT;
static struct qemu qemu;

static void setup(void)
{
    fake_host_reset();
    fake_host_root("/r");
    qemu = (struct qemu){.host = fake_host(),
                         .binary = "/opt/qemu",
                         .accel = "auto",
                         .firmware = "seabios",
                         .tb_size_bytes = 64 << 20,
                         .lock = PTHREAD_MUTEX_INITIALIZER};
}

static void teardown(void)
{
    cr_expect_eq(fake_host_live(), 0);
    cr_expect_eq(fake_host_unused(), 0, "answers that nobody asked for; asked was:\n%s", fake_host_ran());
}

TestSuite(accel, .init = setup, .fini = teardown);

static void scene(bool has_kvm, const char *kept)
{
    fake_host_answer(RUNNER_READ, "boot_id", 0, 0, BOOT_ID "\n");
    fake_host_answer(RUNNER_READ, "/r/accel-qemu.json", kept == NULL, 0, kept);
    fake_host_answer(RUNNER_STAT, "/dev/kvm", !has_kvm, 0, NULL);
}

/* The transport's answer to a STAT of the binary; fake_host_answer() cannot set a second number. */
static int stat_binary(void *arg, const struct runner_step *step, struct runner_result *result, struct runner_error *e)
{
    (void)arg;
    (void)e;
    if (step->kind == RUNNER_STAT) {
        result->status = strcmp(step->path, "/r") != 0 && strcmp(step->path, "/opt/qemu") != 0 &&
                         strcmp(step->path, "/usr/bin/qemu") != 0;
        result->number = 5000;
        result->number2 = 1700000000;
    }
    return 0;
}

static void expect_choice(bool has_kvm)
{
    struct qemu_facts facts;

    fake_host_on_step(stat_binary, NULL);
    cr_assert_eq(accel_choose(&qemu, fake_call(), true, &err), 0, "%s", err.message);
    cr_assert_eq(accel_facts(&qemu, fake_call(), &facts, &err), 0);
    cr_expect_eq(facts.has_kvm, has_kvm);
    cr_expect_str_eq(facts.version, "7.2.22");
    cr_expect_eq(facts.major, 7);
    cr_expect_eq(facts.minor, 2);
}

static void expect_ran(const char *part)
{
    cr_expect_not_null(strstr(fake_host_ran(), part), "'%s' is not in:\n%s", part, fake_host_ran());
}

static void expect_not_ran(const char *part)
{
    cr_expect_null(strstr(fake_host_ran(), part), "'%s' is in:\n%s", part, fake_host_ran());
}

Test(accel, without_kvm)
{
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    expect_choice(false);
    expect_not_ran("[kvm]");
    cr_expect_str_eq(fake_host_log(),
                     "info vmm.accel vmm=qemu version=7.2.22 accel=tcg reason=there is no /dev/kvm firmware=seabios\n");
}

Test(accel, configured_tcg)
{
    qemu.accel = "tcg";
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    expect_choice(false);
    expect_not_ran("[kvm]");
}

Test(accel, kvm_that_works)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[-accel][kvm][-cpu][host]", 0, 0, PROBE_MARKER "\n");
    expect_choice(true);
    expect_ran("REMOVE /r/probe-");
    expect_ran("WRITE /r/accel-qemu.json mode=0644");
    expect_ran("\"bootId\":\"" BOOT_ID
               "\",\"binary\":\"/opt/qemu\",\"mtime\":1700000000,\"size\":5000,\"cpu\":\"host\"");
}

static int stat_no_root(void *arg, const struct runner_step *step, struct runner_result *result, struct runner_error *e)
{
    if (step->kind != RUNNER_STAT || strcmp(step->path, "/r") != 0)
        return stat_binary(arg, step, result, e);
    result->status = 1;
    return 0;
}

/* A mere check makes no root directory: the guest lies elsewhere, and nothing is kept. */
Test(accel, no_root_directory)
{
    struct qemu_facts facts;

    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[-accel][kvm][-cpu][host]", 0, 0, PROBE_MARKER "\n");
    fake_host_on_step(stat_no_root, NULL);
    cr_assert_eq(accel_choose(&qemu, fake_call(), true, &err), 0, "%s", err.message);
    cr_assert_eq(accel_facts(&qemu, fake_call(), &facts, &err), 0);
    cr_expect(facts.has_kvm);
    expect_ran("WRITE /tmp/probe-");
    expect_ran("REMOVE /tmp/probe-");
    expect_not_ran("MKDIR");
    expect_not_ran("WRITE /r");
}

/* The kernel of a snapshot has the last word. */
Test(accel, kvm_that_runs_no_kernel)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_LIST, "/r/snapshots", 0, 0, "tiny");
    fake_host_answer(RUNNER_READ, "/r/snapshots/tiny/manifest.json", 0, 0, MANIFEST);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "/r/probe-", 0, 0, PROBE_MARKER "\n");
    fake_host_refuse(RUNNER_RUN, "[-kernel][/r/snapshots/tiny/vmlinux]", RUNNER_E_TIMEOUT, "no end after 10000 ms");
    expect_choice(false);
    expect_ran("[-initrd][/r/snapshots/tiny/initramfs.img]");
    expect_ran("runner.probe");
    cr_expect_not_null(strstr(fake_host_log(), "accel=tcg reason=no end after 10000 ms"), "%s", fake_host_log());
}

Test(accel, kvm_that_aborts)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[kvm]", RUNNER_E_IO, "status 134: Assertion failed");
    expect_choice(false);
    expect_ran("undo: REMOVE /r/probe-");
    expect_ran("\"kvmWorks\":false,\"reason\":\"status 134: Assertion failed\"");
}

Test(accel, kvm_in_silence)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[kvm]", 0, 0, "");
    expect_choice(false);
}

Test(accel, configured_kvm_that_fails)
{
    qemu.accel = "kvm";
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[kvm]", RUNNER_E_IO, "status 134");
    cr_expect_eq(accel_choose(&qemu, fake_call(), true, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    cr_expect_str_eq(err.message, "accel: kvm, but KVM runs no guest here: status 134");
}

static void kept(char *text, size_t size, const char *boot_id, const char *works, const char *kernel)
{
    cr_assert_lt(snprintf(text, size,
                          "{\"schema\":1,\"bootId\":\"%s\",\"binary\":\"/opt/qemu\",\"mtime\":1700000000,\"size\":5000,"
                          "\"cpu\":\"host\",\"accel\":\"auto\",\"firmware\":\"seabios\",\"kvmDevice\":true,\"version\":"
                          "\"7.2.22\",\"kvmWorks\":%s,\"reason\":\"kept\",\"kernel\":\"%s\"}",
                          boot_id, works, kernel),
                 (int)size);
}

Test(accel, kept_verdict)
{
    char text[1000];

    kept(text, sizeof text, BOOT_ID, "false", "");
    scene(true, text);
    expect_choice(false);
    expect_not_ran("RUN");
    expect_not_ran("WRITE");
    kept(text, sizeof text, BOOT_ID, "true", "");
    scene(true, text);
    expect_choice(true);
    expect_not_ran("RUN [/opt/qemu]");
    cr_expect_eq(qemu.facts.is_kvm_roots, false);
}

/* The mode of /dev/kvm is looked at each time, as a user that machines run as. */
Test(accel, kvm_is_roots)
{
    char text[1000];

    kept(text, sizeof text, BOOT_ID, "true", "");
    scene(true, text);
    fake_host_answer(RUNNER_RUN, "[test][-r][/dev/kvm][-a][-w][/dev/kvm]", 1, 0, NULL);
    expect_choice(true);
    cr_expect_eq(qemu.facts.is_kvm_roots, true);
    expect_ran("uid=65534 gid=65534 groups_of=/dev/kvm");
    cr_expect_not_null(strstr(fake_host_log(), "but only root may open /dev/kvm"));
}

Test(accel, stale_verdicts)
{
    char text[1000];
    static const char *const bad[] = {"", "{", "[]", "{\"schema\":2}"};

    for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
        if (i < ARRAY_LEN(bad))
            (void)snprintf(text, sizeof text, "%s", bad[i]);
        else
            kept(text, sizeof text, "another-boot", "true", "");
        scene(true, text);
        fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
        fake_host_answer(RUNNER_RUN, "[kvm]", 0, 0, "");
        expect_choice(false);
    }
}

/* A KVM that ran the tiny guest only is tried again once there is a kernel. */
Test(accel, verdict_without_kernel)
{
    char text[1000];

    kept(text, sizeof text, BOOT_ID, "true", "");
    scene(true, text);
    fake_host_answer(RUNNER_LIST, "/r/snapshots", 0, 0, "tiny");
    fake_host_answer(RUNNER_READ, "/tiny/manifest.json", 0, 0, MANIFEST);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "/r/probe-", 0, 0, PROBE_MARKER);
    fake_host_answer(RUNNER_RUN, "/tiny/vmlinux", 0, 0, PROBE_MARKER);
    expect_choice(true);
    expect_ran("\"kernel\":\"/r/snapshots/tiny/vmlinux\"");
}

Test(accel, manifests_of_others)
{
    static const char *const manifests[] = {
        "",
        "{}",
        "{\"init\":\"systemd\",\"kernel\":\"k\",\"initramfs\":\"i\"}",
        "{\"init\":\"runner-guestd\",\"kernel\":\"../../etc/passwd\",\"initramfs\":\"i\"}",
        "{\"init\":\"runner-guestd\",\"kernel\":\"k\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(manifests); i++) {
        scene(true, NULL);
        fake_host_answer(RUNNER_LIST, "/r/snapshots", 0, 0, "other");
        fake_host_answer(RUNNER_READ, "/other/manifest.json", 0, 0, manifests[i]);
        fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
        fake_host_answer(RUNNER_RUN, "/r/probe-", 0, 0, PROBE_MARKER);
        expect_choice(true);
        expect_not_ran("[-initrd]");
    }
}

/* ---- firmware ---- */

Test(accel, qboot)
{
    qemu.firmware = "auto";
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[-bios][qboot.rom][-accel][tcg,", 0, 0, PROBE_MARKER);
    expect_choice(false);
    cr_expect(qemu.facts.has_qboot);
    cr_expect_not_null(strstr(fake_host_log(), "firmware=qboot"));
    expect_ran("\"qbootWorks\":true");
}

Test(accel, no_qboot)
{
    qemu.firmware = "auto";
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[qboot.rom]", RUNNER_E_IO, "could not load PC BIOS 'qboot.rom'");
    expect_choice(false);
    cr_expect_not(qemu.facts.has_qboot);
}

Test(accel, configured_qboot_that_fails)
{
    qemu.firmware = "qboot";
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[qboot.rom]", RUNNER_E_IO, "could not load PC BIOS 'qboot.rom'");
    cr_expect_eq(accel_choose(&qemu, fake_call(), true, &err), -1);
    cr_expect_str_eq(err.message, "could not load PC BIOS 'qboot.rom'");
}

Test(accel, binary_in_path)
{
    qemu.binary = "qemu";
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[qemu][--version]", 0, 0, VERSION);
    expect_choice(false);
    expect_ran("STAT /usr/bin/qemu");
}

Test(accel, missing_binary)
{
    scene(false, NULL);
    fake_host_refuse(RUNNER_RUN, "[--version]", RUNNER_E_NOTFOUND, "no such file");
    cr_expect_eq(accel_choose(&qemu, fake_call(), true, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTFOUND);
    cr_expect_str_eq(err.message, "QEMU '/opt/qemu': no such file");
}

Test(accel, not_qemu)
{
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, "GNU bash, version 5.2\n");
    cr_expect_eq(accel_choose(&qemu, fake_call(), true, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
}

Test(accel, cancelled_is_no_verdict)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[kvm]", RUNNER_E_TIMEOUT, "deadline passed");
    fake_host_deadline(0);
    cr_expect_eq(accel_choose(&qemu, fake_call(), true, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    expect_not_ran("WRITE /r/accel-qemu.json");
}

Test(accel, verdict_that_cannot_be_kept)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[kvm]", 0, 0, PROBE_MARKER);
    fake_host_refuse(RUNNER_WRITE, "accel-qemu.json", RUNNER_E_NOSPACE, "disk full");
    expect_choice(true);
    cr_expect_not_null(strstr(fake_host_log(), "vmm.accel_not_kept error=disk full"));
}

Test(accel, versions)
{
    struct qemu_facts facts = {0};

    cr_expect(probe_parse_version("QEMU emulator version 10.0.0", &facts));
    cr_expect_eq(facts.major, 10);
    cr_expect_str_eq(facts.version, "10.0.0");
    cr_expect_not(probe_parse_version("QEMU emulator version x", &facts));
    cr_expect_not(probe_parse_version("QEMU emulator version 7", &facts));
    cr_expect_not(probe_parse_version("", &facts));
    cr_expect_not(probe_parse_version("QEMU emulator version 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17", &facts));
}

Test(accel, probe_guest_is_multiboot)
{
    size_t size;
    const unsigned char *guest = probe_guest(&size);
    uint32_t head[3];

    if (size == 0)
        cr_skip_test("the probe guest is x86-64 only");
    cr_assert_lt(size, 512);
    memcpy(head, guest, sizeof head);
    cr_expect_eq(head[0], 0x1badb002);
    cr_expect_eq(head[0] + head[1] + head[2], 0);
}

/* ---- diagnose ---- */

static void expect_findings(const char *lines)
{
    auto_str struct str found = STR_INIT;

    fake_host_on_step(stat_binary, NULL);
    cr_expect_eq(diagnose_run(&qemu, fake_call(), findings_say, &found, &err), 0, "%s", err.message);
    cr_expect_str_eq(str_text(&found), lines, "%s", str_text(&found));
}

#define GOOD "ok qemu: '/opt/qemu' is QEMU 7.2.22; boots by SeaBIOS []\n"

Test(accel, diagnose_without_qemu)
{
    scene(false, NULL);
    fake_host_refuse(RUNNER_RUN, "[--version]", RUNNER_E_NOTFOUND, "not installed");
    expect_findings("FAIL qemu: QEMU '/opt/qemu': not installed (vmm: {binary: /opt/qemu} in the configuration; without "
                    "it, the first qemu-system-x86_64 of PATH) []\n");
}

/* What is remembered says that KVM works: it is tried all the same. */
Test(accel, diagnose_tries_anew)
{
    scene(true,
          "{\"schema\":1,\"bootId\":\"" BOOT_ID "\",\"binary\":\"/opt/qemu\",\"mtime\":1700000000,\"size\":5000,"
          "\"cpu\":\"host\",\"accel\":\"auto\",\"firmware\":\"seabios\",\"kvmDevice\":true,\"version\":\"7.2.22\","
          "\"kvmWorks\":true,\"reason\":\"\",\"kernel\":\"\",\"qbootWorks\":false}");
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_refuse(RUNNER_RUN, "[-accel][kvm]", RUNNER_E_IO, "failed to initialize kvm: Permission denied");
    expect_findings(GOOD "warn qemu-kvm: KVM runs no guest, so guests are emulated, many times slower: failed to "
                         "initialize kvm: Permission denied [groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 "
                         "/dev/kvm && usermod -aG kvm USER]\n");
    expect_ran("\"kvmWorks\":false");
}

Test(accel, diagnose_kvm_that_works)
{
    scene(true, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    fake_host_answer(RUNNER_RUN, "[-accel][kvm][-cpu][host]", 0, 0, PROBE_MARKER "\n");
    expect_findings(GOOD "ok qemu-kvm: KVM ran a tiny guest; no snapshot's kernel to try it with []\n");
}

/* A FAIL where check() refuses. */
Test(accel, diagnose_kvm_that_must_be)
{
    qemu.accel = "kvm";
    scene(false, NULL);
    fake_host_answer(RUNNER_RUN, "[--version]", 0, 0, VERSION);
    expect_findings(GOOD
                    "FAIL qemu-kvm: KVM runs no guest, and the configuration says accel: kvm: there is no /dev/kvm "
                    "[modprobe kvm_intel || modprobe kvm_amd]\n");
}

Test(accel, diagnose_interrupted)
{
    auto_str struct str found = STR_INIT;

    scene(false, NULL);
    fake_host_refuse(RUNNER_RUN, "[--version]", RUNNER_E_CANCELLED, "cancelled");
    fake_host_cancel(true);
    cr_expect_eq(diagnose_run(&qemu, fake_call(), findings_say, &found, &err), -1);
    cr_expect_str_eq(str_text(&found), "");
    fake_host_reset();
}
