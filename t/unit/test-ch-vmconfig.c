/* The configuration that vmm/cloud-hypervisor makes of a machine. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/cloud-hypervisor/vmconfig.h"

#define MIB (INT64_C(1) << 20)

static struct runner_error err = ERROR_INIT;
static struct ch ch;
static struct runner_vm vm;
static struct vmconfig_how how;
static struct runner_image images[2];
static struct runner_nic nic;
static const struct runner_image *disks[] = {&images[0], &images[1]};
static const struct runner_nic *nics[] = {&nic};

static void setup(void)
{
    ch = (struct ch){.hotplug = true, .balloon = true};
    how = (struct vmconfig_how){.has_landlock = true};
    images[0] = (struct runner_image){.size = sizeof images[0],
                                      .path = "/s/disk.qcow2",
                                      .format = "qcow2",
                                      .backing_path = "/b/disk.raw",
                                      .backing_format = "raw"};
    images[1] = (struct runner_image){
        .size = sizeof images[1], .path = "/s/seed.iso", .format = "raw", .flags = RUNNER_I_READONLY};
    nic = (struct runner_nic){
        .size = sizeof nic, .kind = RUNNER_NIC_TAP, .name = "tap-x", .mac = "02:00:00:00:00:01", .mtu = 1450};
    vm = (struct runner_vm){.size = sizeof vm,
                            .id = "sb-1",
                            .dir = "/s",
                            .vmm_dir = "/s/vmm",
                            .serial_path = "/s/serial.log",
                            .cpus = 2,
                            .max_cpus = 4,
                            .memory_bytes = 1024 * MIB,
                            .max_memory_bytes = 2048 * MIB,
                            .kernel = "/k",
                            .initramfs = "/i",
                            .cmdline = "console=ttyS0 quiet",
                            .n_disks = 2,
                            .disks = disks,
                            .n_nics = 1,
                            .nics = nics};
}

TestSuite(ch_vmconfig, .init = setup);

static char *build(void)
{
    struct str s = STR_INIT;
    auto_json struct json *tree = NULL;

    cr_assert_eq(vmconfig_check(&vm, &err), 0, "%s", err.message);
    vmconfig_build(&ch, &vm, &how, &s);
    cr_assert_eq(json_parse(s.ptr, s.len, &tree, &err), 0, "%s", err.message);
    return str_steal(&s);
}

static void expect_part(const char *part)
{
    auto_free char *text = build();

    cr_expect_not_null(strstr(text, part), "'%s' is not in:\n%s", part, text);
}

static void expect_no(const char *part)
{
    auto_free char *text = build();

    cr_expect_null(strstr(text, part), "'%s' is in:\n%s", part, text);
}

Test(ch_vmconfig, whole)
{
    auto_free char *text = build();

    cr_expect_str_eq(
        text,
        "{\"payload\":{\"kernel\":\"/k\",\"initramfs\":\"/i\",\"cmdline\":\"console=ttyS0 quiet\"},"
        "\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":4,\"nested\":false},"
        "\"memory\":{\"size\":1073741824,\"hotplug_size\":1207959552},"
        "\"disks\":[{\"id\":\"disk0\",\"path\":\"/s/disk.qcow2\",\"image_type\":\"Qcow2\",\"readonly\":false,"
        "\"backing_files\":true,\"serial\":\"disk0\"},"
        "{\"id\":\"disk1\",\"path\":\"/s/seed.iso\",\"image_type\":\"Raw\",\"readonly\":true,"
        "\"backing_files\":false,\"serial\":\"disk1\"}],"
        "\"serial\":{\"mode\":\"File\",\"file\":\"/s/serial.log\"},\"console\":{\"mode\":\"Off\"},"
        "\"vsock\":{\"id\":\"vsock0\",\"cid\":3,\"socket\":\"/s/vmm/vsock.sock\"},"
        "\"balloon\":{\"id\":\"balloon0\",\"size\":0,\"deflate_on_oom\":true,\"free_page_reporting\":true},"
        "\"pvpanic\":true,\"watchdog\":false,\"landlock_enable\":true,"
        "\"landlock_rules\":[{\"path\":\"/b/disk.raw\",\"access\":\"r\"},{\"path\":\"/s/vmm\",\"access\":\"rw\"}]}");
}

Test(ch_vmconfig, nic_with_descriptor)
{
    auto_str struct str s = STR_INIT;

    vmconfig_build_nic(&vm, 0, &s);
    cr_expect_str_eq(str_text(&s), "{\"id\":\"net0\",\"mac\":\"02:00:00:00:00:01\",\"mtu\":1450}");
    expect_no("\"net\"");
    vm.uid = 1000;
    str_clear(&s);
    vmconfig_build_nic(&vm, 0, &s);
    cr_expect_str_eq(str_text(&s), "{\"id\":\"net0\",\"mac\":\"02:00:00:00:00:01\"}");
}

Test(ch_vmconfig, nic_by_name)
{
    how.opens_taps = true;
    nic.mtu = 0;
    expect_part("\"net\":[{\"id\":\"net0\",\"tap\":\"tap-x\",\"mac\":\"02:00:00:00:00:01\"}]");
    expect_part("{\"path\":\"/dev/net/tun\",\"access\":\"rw\"}");
    vm.n_nics = 0;
    expect_no("\"net\"");
    expect_no("/dev/net/tun");
}

Test(ch_vmconfig, firmware)
{
    vm.firmware = "/f/CLOUDHV.fd";
    vm.kernel = vm.initramfs = vm.cmdline = NULL;
    expect_part("\"payload\":{\"firmware\":\"/f/CLOUDHV.fd\"},");
}

/* A reboot at once would empty the serial log before it is read. */
Test(ch_vmconfig, panic)
{
    vm.cmdline = "quiet reboot=t panic=-1";
    expect_part("\"cmdline\":\"quiet reboot=t panic=-1 panic=10\"");
    vm.cmdline = "panic=30";
    expect_part("\"cmdline\":\"panic=30\"");
    vm.cmdline = NULL;
    expect_part("\"cmdline\":\"\"");
}

Test(ch_vmconfig, parameters)
{
    ch = (struct ch){.nested = true, .watchdog = true};
    how.has_landlock = false;
    expect_part("\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":2,\"nested\":true}");
    expect_part("\"memory\":{\"size\":1073741824}");
    expect_part("\"watchdog\":true");
    expect_no("balloon");
    expect_no("landlock");
}

Test(ch_vmconfig, hotplug_room)
{
    vm.max_memory_bytes = vm.memory_bytes + 1 * MIB;
    expect_part("\"hotplug_size\":268435456}");
    vm.max_memory_bytes = vm.memory_bytes;
    vm.max_cpus = 1; /* a ceiling below what it has is none */
    expect_no("hotplug_size");
    expect_part("\"max_vcpus\":2");
    vm.max_cpus = 1000;
    expect_part("\"max_vcpus\":254");
}

Test(ch_vmconfig, vsock_path_too_long)
{
    vm.vmm_dir = "/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456";
    expect_no("vsock");
    vm.vmm_dir = NULL;
    expect_part("\"socket\":\"/s/vsock.sock\"");
    expect_part("\"landlock_rules\":[{\"path\":\"/b/disk.raw\",\"access\":\"r\"}]");
}

Test(ch_vmconfig, paths_need_no_care)
{
    images[0].path = "/s/a \"b\",c\\d";
    expect_part("\"path\":\"/s/a \\\"b\\\",c\\\\d\"");
}

/* ---- refusals ---- */

static void expect_refusal(int code, const char *part)
{
    cr_expect_eq(vmconfig_check(&vm, &err), -1, "%s", part);
    cr_expect_eq(err.code, code, "%s", err.message);
    cr_expect_not_null(strstr(err.message, part), "%s", err.message);
    setup();
}

Test(ch_vmconfig, refusals)
{
    vm.id = "../x";
    expect_refusal(RUNNER_E_INVALID, "machine name '../x'");
    vm.kernel = NULL;
    expect_refusal(RUNNER_E_INVALID, "neither kernel nor firmware");
    vm.firmware = "/f";
    expect_refusal(RUNNER_E_INVALID, "both a kernel and firmware");
    vm.cpus = 0;
    expect_refusal(RUNNER_E_INVALID, "0 processors");
    vm.cpus = 255;
    expect_refusal(RUNNER_E_INVALID, "255 processors: 1 to 254");
    vm.memory_bytes = 1000;
    expect_refusal(RUNNER_E_INVALID, "memory of 1000 bytes");
    vm.max_memory_bytes += 1;
    expect_refusal(RUNNER_E_INVALID, "whole MiB are due");
    vm.n_disks = 13;
    expect_refusal(RUNNER_E_INVALID, "13 disks");
    vm.n_nics = 9;
    expect_refusal(RUNNER_E_INVALID, "9 network interfaces");
    images[0].format = "vmdk";
    expect_refusal(RUNNER_E_INVALID, "disk '/s/disk.qcow2': format 'vmdk' on 'raw'");
    images[0].backing_format = NULL;
    expect_refusal(RUNNER_E_INVALID, "format 'qcow2' on ''");
    images[0].format = "raw";
    expect_refusal(RUNNER_E_INVALID, "a raw image has no backing file");
    nic.kind = RUNNER_NIC_USER;
    expect_refusal(RUNNER_E_NOTSUP, "Cloud Hypervisor has no user network");
    nic.kind = 9;
    expect_refusal(RUNNER_E_NOTSUP, "kind 9");
    nic.mtu = 576;
    expect_refusal(RUNNER_E_INVALID, "an MTU of 576");
}
