/* What vmm/cloud-hypervisor says of a host, against a scripted one; check() must agree. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "kit/fake/host.h"
#include "t/unit/findings.h"

const struct runner_plugin *runner_plugin_1(void);

static struct runner_error err = ERROR_INIT;

static void setup(void)
{
    fake_host_reset();
    fake_host_root("/r");
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
}

TestSuite(ch_diagnose, .init = setup);

#define KVM_WORKS 1
#define NO_KVM    2
#define NO_BINARY 4
#define OLD       8

static int answer(void *arg, const struct runner_step *step, struct runner_result *result, struct runner_error *e)
{
    unsigned host = *(const unsigned *)arg;
    const char *out = NULL;

    if (step->kind == RUNNER_STAT)
        result->status = strcmp(step->path, "/dev/kvm") == 0 && (host & NO_KVM);
    if (step->kind != RUNNER_RUN)
        return 0;
    if (strcmp(step->argv[1], "--version") == 0 && (host & NO_BINARY))
        return fail(e, RUNNER_E_NOTFOUND, 0, "not installed");
    if (strcmp(step->argv[1], "--version") == 0)
        out = host & OLD ? "cloud-hypervisor v38.0\n" : "cloud-hypervisor v53.0\n";
    else if (host & KVM_WORKS)
        out = "runner-probe-ok\n";
    else
        return fail(e, RUNNER_E_IO, 0, "Permission denied");
    result->len = strlen(out);
    result->out = fake_host()->alloc(result->len + 1);
    memcpy(result->out, out, result->len + 1);
    return 0;
}

/* The findings, and that check() refuses when one of them is a FAIL. */
static void diagnose(unsigned host, const struct runner_value *values, size_t n, struct str *ret_lines)
{
    const struct runner_plugin *plugin = runner_plugin_1();
    void *self = NULL;
    bool fails;

    fake_host_on_step(answer, &host);
    cr_assert_eq(plugin->create(values, n, &self, &err), 0, "%s", err.message);
    cr_expect_eq(plugin->diagnose(self, fake_call(), findings_say, ret_lines, &err), 0, "%s", err.message);
    fails = strstr(str_text(ret_lines), "FAIL ") != NULL;
    cr_expect_eq(plugin->check(self, fake_call(), &err) < 0, fails, "check() says '%s'; diagnosed was:\n%s",
                 err.message, str_text(ret_lines));
    plugin->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}

#define HAS(line) cr_expect_not_null(strstr(str_text(&lines), line), "no '%s' in:\n%s", line, str_text(&lines))

Test(ch_diagnose, well)
{
    auto_str struct str lines = STR_INIT;

    diagnose(KVM_WORKS, NULL, 0, &lines);
    HAS("ok cloud-hypervisor: 'cloud-hypervisor' is Cloud Hypervisor v53.0 []\n");
    HAS("ok ch-kvm: ");
    HAS("ok ch-landlock: ");
    cr_expect_null(strstr(str_text(&lines), "warn"), "%s", str_text(&lines));
}

Test(ch_diagnose, no_program)
{
    auto_str struct str lines = STR_INIT;

    diagnose(NO_BINARY, NULL, 0, &lines);
    HAS("FAIL cloud-hypervisor: ");
    HAS("curl --create-dirs -fLo /usr/local/bin/cloud-hypervisor https://");
    cr_expect_null(strstr(str_text(&lines), "binary:"), "%s", str_text(&lines));
}

Test(ch_diagnose, no_program_at_a_configured_path)
{
    static const struct runner_value values[] = {{.name = "binary", .text = "/opt/ch/ch"}};
    auto_str struct str lines = STR_INIT;

    diagnose(NO_BINARY, values, ARRAY_LEN(values), &lines);
    HAS("not installed (vmm: {binary: /opt/ch/ch} in the configuration) [");
    HAS("curl --create-dirs -fLo /opt/ch/ch https://");
    HAS("chmod 755 /opt/ch/ch]");
    cr_expect_null(strstr(str_text(&lines), "/usr/local"), "%s", str_text(&lines));
}

Test(ch_diagnose, too_old)
{
    auto_str struct str lines = STR_INIT;

    diagnose(KVM_WORKS | OLD, NULL, 0, &lines);
    HAS("FAIL cloud-hypervisor: 'cloud-hypervisor' is v38.0");
    HAS("curl ");
}

Test(ch_diagnose, no_kvm)
{
    auto_str struct str lines = STR_INIT;

    diagnose(NO_KVM, NULL, 0, &lines);
    HAS("FAIL ch-kvm: KVM runs no guest: there is no /dev/kvm [modprobe kvm_intel || modprobe kvm_amd]\n");
    HAS("skip ch-landlock: ");
}

Test(ch_diagnose, kvm_of_others)
{
    auto_str struct str lines = STR_INIT;

    diagnose(0, NULL, 0, &lines);
    HAS("FAIL ch-kvm: ");
    HAS("[groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm]\n");
}

Test(ch_diagnose, configured_unconfined)
{
    static const struct runner_value values[] = {
        {.name = "landlock", .text = "off"}, {.name = "seccomp", .text = "false"}, {.name = "probe", .text = "none"}};
    auto_str struct str lines = STR_INIT;

    diagnose(KVM_WORKS, values, ARRAY_LEN(values), &lines);
    HAS("warn ch-landlock: ");
    HAS("warn ch-seccomp: ");
    HAS("skip ch-kvm: not tried");
}

Test(ch_diagnose, interrupted)
{
    auto_str struct str lines = STR_INIT;
    unsigned host = KVM_WORKS;
    void *self = NULL;

    fake_host_on_step(answer, &host);
    cr_assert_eq(runner_plugin_1()->create(NULL, 0, &self, &err), 0);
    fake_host_cancel(true);
    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, &lines, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED);
    runner_plugin_1()->destroy(self);
}
