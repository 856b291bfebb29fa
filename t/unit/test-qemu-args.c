/* vmm/qemu's command line: from a machine to words. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/vmm/qemu/args.h"

#define GIB (INT64_C(1) << 30)

static struct runner_error err = ERROR_INIT;
static struct qemu qemu;
static struct qemu_facts facts;
static struct runner_vm vm;

static struct runner_image root, seed;
static struct runner_nic nic;
static const struct runner_image *disks[ARGS_DISKS_MAX + 1] = {&root, &seed};
static const struct runner_nic *nics[ARGS_NICS_MAX + 1] = {&nic};

static void setup(void)
{
    qemu = (struct qemu){.binary = "qemu", .accel = "auto", .tb_size_bytes = 64 << 20};
    facts = (struct qemu_facts){.is_known = true, .major = 7, .minor = 2};
    root = (struct runner_image){.size = sizeof root,
                                 .path = "/s/disk.qcow2",
                                 .format = "qcow2",
                                 .backing_path = "/b/base.raw",
                                 .backing_format = "raw"};
    seed = (struct runner_image){
        .size = sizeof seed, .flags = RUNNER_I_READONLY, .path = "/s/seed,1.iso", .format = "raw"};
    nic =
        (struct runner_nic){.size = sizeof nic, .kind = RUNNER_NIC_TAP, .name = "tap-abc", .mac = "02:00:00:00:00:01"};
    vm = (struct runner_vm){.size = sizeof vm,
                            .id = "sb-1",
                            .cpus = 2,
                            .max_cpus = 2,
                            .memory_bytes = GIB,
                            .max_memory_bytes = GIB,
                            .kernel = "/k/vmlinux",
                            .initramfs = "/k/initramfs.img",
                            .cmdline = "console=ttyS0 quiet",
                            .n_disks = 2,
                            .disks = disks,
                            .n_nics = 1,
                            .nics = nics};
}

TestSuite(args, .init = setup);

/* All words, a line each. */
static char *words(void)
{
    auto_args struct args args = ARGS_INIT;
    struct str s = STR_INIT;

    cr_assert_eq(args_build(&qemu, &facts, &vm, &args, &err), 0, "%s", err.message);
    cr_assert_null(args.words[args.n]);
    for (size_t i = 0; i < args.n; i++)
        str_addf(&s, "%s\n", args.words[i]);
    return str_steal(&s);
}

static void expect_words(const char *part)
{
    auto_free char *text = words();

    cr_expect_not_null(strstr(text, part), "'%s' is not in:\n%s", part, text);
}

static void expect_refusal(int code, const char *part)
{
    auto_args struct args args = ARGS_INIT;

    cr_expect_eq(args_build(&qemu, &facts, &vm, &args, &err), -1);
    cr_expect_null(args.words);
    cr_expect_eq(err.code, code);
    cr_expect_not_null(strstr(err.message, part), "%s", err.message);
}

Test(args, s07_whole)
{
    static const char expected[] =
        "qemu\n-name\nsb-1,debug-threads=on\n-nodefaults\n-no-user-config\n-display\nnone\n"
        "-machine\npc-q35-7.2,usb=off,vmport=off,smm=off,hpet=off\n"
        "-accel\ntcg,tb-size=64\n-cpu\nmax\n-smp\ncpus=2,sockets=2,cores=1,threads=1\n-m\nsize=1024M\n"
        "-kernel\n/k/vmlinux\n-initrd\n/k/initramfs.img\n-append\nconsole=ttyS0 quiet tsc=unstable\n"
        "-chardev\nsocket,id=qmp,fd=3,server=on,wait=off\n-mon\nchardev=qmp,mode=control\n"
        "-add-fd\nfd=4,set=1\n-chardev\nfile,id=con,path=/dev/fdset/1,append=on\n-serial\nchardev:con\n"
        "-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"disk0\",\"discard\":\"unmap\",\"detect-zeroes\":\"unmap\","
        "\"file\":{\"driver\":\"file\",\"node-name\":\"disk0-file\",\"filename\":\"/s/disk.qcow2\",\"aio\":\"threads\","
        "\"discard\":\"unmap\"},\"backing\":{\"driver\":\"raw\",\"node-name\":\"disk0-base\",\"read-only\":true,"
        "\"file\":{\"driver\":\"file\",\"node-name\":\"disk0-base-file\",\"filename\":\"/b/base.raw\","
        "\"aio\":\"threads\",\"read-only\":true}}}\n"
        "-device\nvirtio-blk-pci,id=vda,drive=disk0,addr=0x10,serial=disk0,werror=report,rerror=report\n"
        "-blockdev\n{\"driver\":\"raw\",\"node-name\":\"disk1\",\"read-only\":true,\"file\":{\"driver\":\"file\","
        "\"node-name\":\"disk1-file\",\"filename\":\"/s/seed,1.iso\",\"aio\":\"threads\",\"read-only\":true}}\n"
        "-device\nvirtio-blk-pci,id=vdb,drive=disk1,addr=0x11,serial=disk1,werror=report,rerror=report\n"
        "-netdev\ntap,id=net0,fd=8,vhost=off\n"
        "-device\nvirtio-net-pci,id=nic0,netdev=net0,mac=02:00:00:00:00:01,addr=0x8,romfile=\n"
        "-device\nvirtio-rng-pci,id=rng0,addr=0x2\n"
        "-device\nvirtio-balloon-pci,id=balloon0,addr=0x3,free-page-reporting=on,deflate-on-oom=on\n"
        "-device\npvpanic-pci,id=panic0,addr=0x4\n"
        "-no-reboot\n-action\npanic=exit-failure\n"
        "-sandbox\non,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n";
    auto_free char *text = words();

    cr_expect_str_eq(text, expected);
}

Test(args, accelerator)
{
    facts.has_kvm = true;
    expect_words("-accel\nkvm\n-cpu\nhost\n");
    qemu.cpu = "Skylake-Server,vmx=off";
    expect_words("-accel\nkvm\n-cpu\nSkylake-Server,vmx=off\n");
    facts.has_kvm = false;
    qemu.tb_size_bytes = 32 << 20;
    expect_words("-accel\ntcg,tb-size=32\n-cpu\nSkylake-Server,vmx=off\n");
}

Test(args, d16_machine)
{
    facts.major = 9;
    facts.minor = 0;
    expect_words("\npc-q35-7.2,");
    facts.major = 6;
    facts.minor = 1;
    expect_words("\npc-q35-6.1,");
    facts.has_qboot = true;
    expect_words("hpet=off\n-bios\nqboot.rom\n");
}

Test(args, room_to_grow)
{
    vm.max_cpus = 4;
    vm.max_memory_bytes = 4 * GIB;
    expect_words("-smp\ncpus=2,maxcpus=4,sockets=4,cores=1,threads=1\n-m\nsize=1024M,slots=4,maxmem=4096M\n");
}

Test(args, s02_s07_user_network)
{
    nic = (struct runner_nic){.size = sizeof nic,
                              .kind = RUNNER_NIC_USER,
                              .mac = "02:00:00:00:00:01",
                              .address = "10.0.2.15",
                              .gateway = "10.0.2.2",
                              .prefix_len = 24,
                              .forward_port = 40001,
                              .guest_port = 2280};
    expect_words("-netdev\nuser,id=net0,restrict=on,ipv6=off,net=10.0.2.15/24,host=10.0.2.2,dhcpstart=10.0.2.15,"
                 "hostfwd=tcp:127.0.0.1:40001-10.0.2.15:2280\n");
    nic.forward_port = 0;
    nic.mtu = 1400;
    expect_words(
        "dhcpstart=10.0.2.15\n-device\nvirtio-net-pci,id=nic0,netdev=net0,mac=02:00:00:00:00:01,host_mtu=1400,");
}

/* A header's own idea of its backing file is never followed. */
Test(args, d16_no_backing_of_its_own)
{
    root.backing_path = root.backing_format = NULL;
    expect_words("\"discard\":\"unmap\"},\"backing\":null}\n");
    root.backing_path = "/b/base.qcow2";
    root.backing_format = "qcow2";
    expect_words("\"read-only\":true},\"backing\":null}}\n");
}

/* What a name may smuggle stays within its value. */
Test(args, commas)
{
    auto_free char *value = args_value("a,b,,");

    cr_expect_str_eq(value, "a,,b,,,,");
    (void)snprintf(nic.mac, sizeof nic.mac, "02,script=/x");
    expect_words("mac=02,,script=/x,");
}

Test(args, refused)
{
    vm.id = "a,readonly=on";
    expect_refusal(RUNNER_E_INVALID, "machine name 'a,readonly=on'");
    setup();
    vm.kernel = NULL;
    expect_refusal(RUNNER_E_INVALID, "has no kernel");
    setup();
    vm.cpus = 0;
    expect_refusal(RUNNER_E_INVALID, "0 processors");
    setup();
    vm.cpus = 256;
    expect_refusal(RUNNER_E_INVALID, "256 processors");
    setup();
    vm.memory_bytes = GIB + 1;
    expect_refusal(RUNNER_E_INVALID, "1073741825 bytes");
    vm.memory_bytes = 0;
    expect_refusal(RUNNER_E_INVALID, "memory of 0 bytes");
    setup();
    root.format = "vmdk";
    expect_refusal(RUNNER_E_INVALID, "format 'vmdk'");
    root.format = "qcow2";
    root.backing_format = NULL;
    expect_refusal(RUNNER_E_INVALID, "only raw and qcow2");
    setup();
    nic.kind = 7;
    expect_refusal(RUNNER_E_NOTSUP, "kind 7");
    setup();
    vm.n_disks = ARGS_DISKS_MAX + 1;
    expect_refusal(RUNNER_E_INVALID, "at most 12");
}
