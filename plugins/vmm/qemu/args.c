#include "plugins/vmm/qemu/args.h"

#include <inttypes.h>
#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"

/*
 * Where devices sit on the PCI bus. Fixed, since a saved machine knows its devices by these numbers, and ascending for
 * disks and NICs, since a guest names them in this order. 0x1f is q35's own.
 */
enum { SLOT_RNG = 0x02, SLOT_BALLOON = 0x03, SLOT_PANIC = 0x04, SLOT_NIC = 0x08, SLOT_DISK = 0x10 };
#define MIB      (INT64_C(1) << 20)
#define CPUS_MAX 255

void args_done(struct args *args)
{
    for (size_t i = 0; i < args->n; i++)
        free(args->words[i]);
    free(args->words);
    *args = (struct args)ARGS_INIT;
}

static void add_word(struct args *args, char *word)
{
    args->words = mem_grow(args->words, args->n + 2, sizeof *args->words);
    args->words[args->n++] = word;
    args->words[args->n] = NULL;
}

void args_add(struct args *args, const char *format, ...)
{
    struct str word = STR_INIT;
    va_list list;

    va_start(list, format);
    str_addv(&word, format, list);
    va_end(list);
    add_word(args, str_steal(&word));
}

char *args_value(const char *text)
{
    struct str value = STR_INIT;

    for (; *text != '\0'; text++) {
        str_add_char(&value, *text);
        if (*text == ',')
            str_add_char(&value, ',');
    }
    return str_steal(&value);
}

/* ---- machine, processor, memory ---- */

/*
 * The machine type is named with its version: an alias moves with the package, and what a guest was started on must
 * not. 7.2 is the oldest QEMU that this was measured with; a younger one has the type too. qboot, where there is one,
 * saves 0.13 s of a processor under emulation.
 */
void args_add_machine(struct args *args, const struct qemu_facts *facts)
{
    bool is_older = facts->major < 7 || (facts->major == 7 && facts->minor < 2);

    args_add(args, "-machine");
    args_add(args, "pc-q35-%d.%d,usb=off,vmport=off,smm=off,hpet=off", is_older ? facts->major : 7,
             is_older ? facts->minor : 2);
    if (facts->has_qboot) {
        args_add(args, "-bios");
        args_add(args, "qboot.rom");
    }
}

void args_add_accel(struct args *args, const struct qemu *qemu, bool has_kvm)
{
    args_add(args, "-accel");
    if (has_kvm)
        args_add(args, "kvm");
    else
        args_add(args, "tcg,tb-size=%" PRId64, qemu->tb_size_bytes / MIB);
    args_add(args, "-cpu");
    args_add(args, "%s", qemu->cpu != NULL ? qemu->cpu : has_kvm ? "host" : "max");
}

static void add_size(struct args *args, const struct runner_vm *vm)
{
    uint32_t max_cpus = vm->max_cpus < CPUS_MAX ? vm->max_cpus : CPUS_MAX; /* there is that much less to plug in */

    args_add(args, "-smp");
    if (max_cpus > vm->cpus)
        args_add(args, "cpus=%u,maxcpus=%u,sockets=%u,cores=1,threads=1", vm->cpus, max_cpus, max_cpus);
    else
        args_add(args, "cpus=%u,sockets=%u,cores=1,threads=1", vm->cpus, vm->cpus);
    args_add(args, "-m");
    if (vm->max_memory_bytes > vm->memory_bytes)
        args_add(args, "size=%" PRId64 "M,slots=4,maxmem=%" PRId64 "M", vm->memory_bytes / MIB,
                 vm->max_memory_bytes / MIB);
    else
        args_add(args, "size=%" PRId64 "M", vm->memory_bytes / MIB);
}

/*
 * Under emulation on a busy host the guest measures its TSC wrongly ("PIT calibration deviates from PMTIMER": off by 26
 * was seen) and its clock runs as much too fast. Marked unstable, the ACPI timer keeps the time. KVM has its own clock.
 */
static void add_boot(struct args *args, const struct runner_vm *vm, bool has_kvm)
{
    args_add(args, "-kernel");
    args_add(args, "%s", vm->kernel);
    if (vm->initramfs != NULL) {
        args_add(args, "-initrd");
        args_add(args, "%s", vm->initramfs);
    }
    args_add(args, "-append");
    args_add(args, "%s%s", vm->cmdline != NULL ? vm->cmdline : "", has_kvm ? "" : " tsc=unstable");
}

static void add_channels(struct args *args)
{
    args_add(args, "-chardev");
    args_add(args, "socket,id=qmp,fd=%d,server=on,wait=off", ARGS_FD_QMP);
    args_add(args, "-mon");
    args_add(args, "chardev=qmp,mode=control");
    args_add(args, "-add-fd");
    args_add(args, "fd=%d,set=1", ARGS_FD_SERIAL);
    args_add(args, "-chardev");
    args_add(args, "file,id=con,path=/dev/fdset/1,append=on");
    args_add(args, "-serial");
    args_add(args, "chardev:con");
}

/* ---- disks: JSON, which needs no quoting of its own ---- */

static void add_file(struct str *s, const char *key, const char *node, const char *path, bool is_readonly)
{
    json_open(s, key, '{');
    json_add_text(s, "driver", "file");
    json_add_text(s, "node-name", node);
    json_add_text(s, "filename", path);
    json_add_text(s, "aio", "threads");
    if (is_readonly)
        json_add_bool(s, "read-only", true);
    else
        json_add_text(s, "discard", "unmap");
    json_close(s, '}');
}

/*
 * The backing file is said here, and said to have none itself: what an image's header names is never opened, since a
 * header may come from a guest or a stranger.
 */
static void add_backing(struct str *s, const struct runner_image *disk, unsigned i)
{
    auto_free char *node = mem_printf("disk%u-base", i);
    auto_free char *file = mem_printf("disk%u-base-file", i);

    if (disk->backing_path == NULL) {
        json_add_null(s, "backing");
        return;
    }
    json_open(s, "backing", '{');
    json_add_text(s, "driver", disk->backing_format);
    json_add_text(s, "node-name", node);
    json_add_bool(s, "read-only", true);
    add_file(s, "file", file, disk->backing_path, true);
    if (strcmp(disk->backing_format, "qcow2") == 0)
        json_add_null(s, "backing");
    json_close(s, '}');
}

static void add_blockdev(struct args *args, const struct runner_image *disk, unsigned i)
{
    auto_str struct str s = STR_INIT;
    auto_free char *node = mem_printf("disk%u", i);
    auto_free char *file = mem_printf("disk%u-file", i);
    bool is_readonly = (disk->flags & RUNNER_I_READONLY) != 0;

    json_open(&s, NULL, '{');
    json_add_text(&s, "driver", disk->format);
    json_add_text(&s, "node-name", node);
    if (is_readonly) {
        json_add_bool(&s, "read-only", true);
    } else {
        json_add_text(&s, "discard", "unmap");
        json_add_text(&s, "detect-zeroes", "unmap");
    }
    add_file(&s, "file", file, disk->path, is_readonly);
    if (strcmp(disk->format, "qcow2") == 0)
        add_backing(&s, disk, i);
    json_close(&s, '}');
    args_add(args, "-blockdev");
    args_add(args, "%s", str_text(&s));
}

static bool is_format(const char *format)
{
    return format != NULL && (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0);
}

static int add_disk(struct args *args, const struct runner_image *disk, unsigned i, struct runner_error *err)
{
    if (!is_format(disk->format) || (disk->backing_path != NULL && !is_format(disk->backing_format)))
        return fail(err, RUNNER_E_INVALID, 0, "disk '%s': format '%s' on '%s': only raw and qcow2 are known",
                    disk->path, disk->format != NULL ? disk->format : "",
                    disk->backing_format != NULL ? disk->backing_format : "");
    add_blockdev(args, disk, i);
    args_add(args, "-device");
    args_add(args, "virtio-blk-pci,id=vd%c,drive=disk%u,addr=0x%x,serial=disk%u,werror=report,rerror=report",
             (char)('a' + i), i, SLOT_DISK + i, i);
    return 0;
}

/* ---- network ---- */

static void add_tap(struct args *args, unsigned i)
{
    /* vhost=off is said: a QEMU that tries it without /dev/vhost-net dies of an assertion. */
    args_add(args, "-netdev");
    args_add(args, "tap,id=net%u,fd=%u,vhost=off", i, ARGS_FD_NIC + i);
}

/*
 * restrict=on: without it a guest reaches every service on the host's loopback. The guest's address is static, so the
 * DHCP server is only told to keep to it.
 */
static void add_user(struct args *args, const struct runner_nic *nic, unsigned i)
{
    auto_free char *address = args_value(nic->address);
    auto_free char *gateway = args_value(nic->gateway);

    args_add(args, "-netdev");
    if (nic->forward_port == 0)
        args_add(args, "user,id=net%u,restrict=on,ipv6=off,net=%s/%u,host=%s,dhcpstart=%s", i, address, nic->prefix_len,
                 gateway, address);
    else
        args_add(args,
                 "user,id=net%u,restrict=on,ipv6=off,net=%s/%u,host=%s,dhcpstart=%s,hostfwd=tcp:127.0.0.1:%u-%s:%u", i,
                 address, nic->prefix_len, gateway, address, nic->forward_port, address, nic->guest_port);
}

static int add_nic(struct args *args, const struct runner_nic *nic, unsigned i, struct runner_error *err)
{
    auto_free char *mac = args_value(nic->mac);

    if (nic->kind == RUNNER_NIC_TAP)
        add_tap(args, i);
    else if (nic->kind == RUNNER_NIC_USER)
        add_user(args, nic, i);
    else
        return fail(err, RUNNER_E_NOTSUP, 0, "network interface %u: kind %u is not known", i, nic->kind);
    args_add(args, "-device");
    if (nic->mtu > 0)
        args_add(args, "virtio-net-pci,id=nic%u,netdev=net%u,mac=%s,host_mtu=%u,addr=0x%x,romfile=", i, i, mac,
                 nic->mtu, SLOT_NIC + i);
    else
        args_add(args, "virtio-net-pci,id=nic%u,netdev=net%u,mac=%s,addr=0x%x,romfile=", i, i, mac, SLOT_NIC + i);
    return 0;
}

static void add_helpers(struct args *args)
{
    args_add(args, "-device");
    args_add(args, "virtio-rng-pci,id=rng0,addr=0x%x", SLOT_RNG);
    args_add(args, "-device");
    args_add(args, "virtio-balloon-pci,id=balloon0,addr=0x%x,free-page-reporting=on,deflate-on-oom=on", SLOT_BALLOON);
    args_add(args, "-device");
    args_add(args, "pvpanic-pci,id=panic0,addr=0x%x", SLOT_PANIC);
}

/* ---- all of it ---- */

static int check_vm(const struct runner_vm *vm, struct runner_error *err)
{
    if (!text_is_id(vm->id))
        return fail(err, RUNNER_E_INVALID, 0, "machine name '%s'", vm->id);
    if (vm->kernel == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "machine '%s' has no kernel: only direct kernel boot is known", vm->id);
    if (vm->cpus < 1 || vm->cpus > CPUS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "%u processors: 1 to %d are possible", vm->cpus, CPUS_MAX);
    if (vm->memory_bytes < MIB || vm->memory_bytes % MIB != 0 || vm->max_memory_bytes % MIB != 0)
        return fail(err, RUNNER_E_INVALID, 0, "memory of %" PRId64 " bytes (at most %" PRId64 "): whole MiB are due",
                    vm->memory_bytes, vm->max_memory_bytes);
    if (vm->n_disks > ARGS_DISKS_MAX || vm->n_nics > ARGS_NICS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "%u disks and %u network interfaces: at most %d and %d", vm->n_disks,
                    vm->n_nics, ARGS_DISKS_MAX, ARGS_NICS_MAX);
    return 0;
}

static int add_all(struct args *args, const struct qemu *qemu, const struct qemu_facts *facts,
                   const struct runner_vm *vm, struct runner_error *err)
{
    args_add(args, "%s", qemu->binary);
    args_add(args, "-name");
    args_add(args, "%s,debug-threads=on", vm->id);
    args_add(args, "-nodefaults");
    args_add(args, "-no-user-config");
    args_add(args, "-display");
    args_add(args, "none");
    args_add_machine(args, facts);
    args_add_accel(args, qemu, facts->has_kvm);
    add_size(args, vm);
    add_boot(args, vm, facts->has_kvm);
    add_channels(args);
    for (unsigned i = 0; i < vm->n_disks; i++)
        if (add_disk(args, vm->disks[i], i, err) < 0)
            return -1;
    for (unsigned i = 0; i < vm->n_nics; i++)
        if (add_nic(args, vm->nics[i], i, err) < 0)
            return -1;
    add_helpers(args);
    /* A guest's reboot ends it: core starts machines. A panic does too, with status 1. */
    args_add(args, "-no-reboot");
    args_add(args, "-action");
    args_add(args, "panic=exit-failure");
    args_add(args, "-sandbox");
    args_add(args, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    return 0;
}

int args_build(const struct qemu *qemu, const struct qemu_facts *facts, const struct runner_vm *vm, struct args *ret,
               struct runner_error *err)
{
    auto_args struct args args = ARGS_INIT;

    if (check_vm(vm, err) < 0 || add_all(&args, qemu, facts, vm, err) < 0)
        return -1;
    *ret = args;
    args = (struct args)ARGS_INIT;
    return 0;
}
