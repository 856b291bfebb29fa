#include "plugins/vmm/cloud-hypervisor/vmconfig.h"

#include <inttypes.h>
#include <string.h>
#include <sys/un.h>

#include "core/util/json.h"
#include "core/util/text.h"

#define MIB          (INT64_C(1) << 20)
#define HOTPLUG_STEP (128 * MIB) /* ACPI memory is plugged in steps of this */
#define CPUS_MAX     254         /* more need what not every kernel has */
#define GUEST_CID    3           /* seen within the machine only: all may have the same */
#define MTU_MIN      1280        /* Cloud Hypervisor's */

/* ---- what can be built ---- */

static bool is_format(const char *format)
{
    return format != NULL && (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0);
}

static int check_disk(const struct runner_image *disk, struct runner_error *err)
{
    if (!is_format(disk->format) || (disk->backing_path != NULL && !is_format(disk->backing_format)))
        return fail(err, RUNNER_E_INVALID, 0, "disk '%s': format '%s' on '%s': only raw and qcow2 are known",
                    disk->path, disk->format != NULL ? disk->format : "",
                    disk->backing_format != NULL ? disk->backing_format : "");
    if (disk->backing_path != NULL && strcmp(disk->format, "qcow2") != 0)
        return fail(err, RUNNER_E_INVALID, 0, "disk '%s': a raw image has no backing file", disk->path);
    return 0;
}

static int check_nic(const struct runner_nic *nic, unsigned i, struct runner_error *err)
{
    if (nic->kind == RUNNER_NIC_USER)
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "network interface %u: " CH_NAME " has no user network: use network: {plugin: bridge}, or vmm: "
                    "{plugin: qemu}",
                    i);
    if (nic->kind != RUNNER_NIC_TAP)
        return fail(err, RUNNER_E_NOTSUP, 0, "network interface %u: kind %u is not known", i, nic->kind);
    if (nic->mtu != 0 && nic->mtu < MTU_MIN)
        return fail(err, RUNNER_E_INVALID, 0, "network interface %u: an MTU of %u; " CH_NAME " takes %d and more", i,
                    nic->mtu, MTU_MIN);
    return 0;
}

static int check_size(const struct runner_vm *vm, struct runner_error *err)
{
    if (vm->cpus < 1 || vm->cpus > CPUS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "%u processors: 1 to %d are possible", vm->cpus, CPUS_MAX);
    if (vm->memory_bytes < MIB || vm->memory_bytes % MIB != 0 || vm->max_memory_bytes % MIB != 0)
        return fail(err, RUNNER_E_INVALID, 0, "memory of %" PRId64 " bytes (at most %" PRId64 "): whole MiB are due",
                    vm->memory_bytes, vm->max_memory_bytes);
    if (vm->n_disks > VMCONFIG_DISKS_MAX || vm->n_nics > VMCONFIG_NICS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "%u disks and %u network interfaces: at most %d and %d", vm->n_disks,
                    vm->n_nics, VMCONFIG_DISKS_MAX, VMCONFIG_NICS_MAX);
    return 0;
}

int vmconfig_check(const struct runner_vm *vm, struct runner_error *err)
{
    if (!text_is_id(vm->id))
        return fail(err, RUNNER_E_INVALID, 0, "machine name '%s'", vm->id);
    if ((vm->kernel == NULL) == (vm->firmware == NULL))
        return fail(err, RUNNER_E_INVALID, 0, "machine '%s' has %s", vm->id,
                    vm->kernel == NULL ? "neither kernel nor firmware" : "both a kernel and firmware");
    if (check_size(vm, err) < 0)
        return -1;
    for (unsigned i = 0; vm->disks != NULL && i < vm->n_disks; i++)
        if (check_disk(vm->disks[i], err) < 0)
            return -1;
    for (unsigned i = 0; vm->nics != NULL && i < vm->n_nics; i++)
        if (check_nic(vm->nics[i], i, err) < 0)
            return -1;
    return 0;
}

/* ---- payload, processors, memory ---- */

/*
 * A guest that panics and reboots at once (panic=-1) has its serial log emptied before anybody could read why: Cloud
 * Hypervisor reboots within the process and opens the log anew. Ten seconds are enough for the panic's event to be
 * heard and the log to be read; a guest without a panic device still reboots.
 */
static void add_cmdline(struct str *s, const struct runner_vm *vm)
{
    const char *given = vm->cmdline != NULL ? vm->cmdline : "";
    auto_free char *text = mem_printf("%s%s", given, strstr(given, "panic=-") != NULL ? " panic=10" : "");

    json_add_text(s, "cmdline", text);
}

static void add_payload(struct str *s, const struct runner_vm *vm)
{
    json_open(s, "payload", '{');
    if (vm->firmware != NULL) {
        json_add_text(s, "firmware", vm->firmware);
    } else {
        json_add_text(s, "kernel", vm->kernel);
        if (vm->initramfs != NULL)
            json_add_text(s, "initramfs", vm->initramfs);
        add_cmdline(s, vm);
    }
    json_close(s, '}');
}

static void add_cpus(struct str *s, const struct ch *ch, const struct runner_vm *vm)
{
    uint32_t max = ch->hotplug && vm->max_cpus > vm->cpus ? vm->max_cpus : vm->cpus;

    json_open(s, "cpus", '{');
    json_add_int(s, "boot_vcpus", vm->cpus);
    json_add_int(s, "max_vcpus", max < CPUS_MAX ? max : CPUS_MAX);
    json_add_bool(s, "nested", ch->nested);
    json_close(s, '}');
}

/* One step more than the difference: aligning what is plugged may lose some. It costs addresses, not memory. */
static void add_memory(struct str *s, const struct ch *ch, const struct runner_vm *vm)
{
    int64_t more = vm->max_memory_bytes - vm->memory_bytes;

    json_open(s, "memory", '{');
    json_add_int(s, "size", vm->memory_bytes);
    if (ch->hotplug && more > 0)
        json_add_int(s, "hotplug_size", (more + HOTPLUG_STEP - 1) / HOTPLUG_STEP * HOTPLUG_STEP + HOTPLUG_STEP);
    json_close(s, '}');
}

/* ---- disks, network ---- */

/* The type is said: a raw image whose type is guessed refuses writes to its first sector, and a guest could make it
 * look like another type. */
static void add_disk(struct str *s, const struct runner_image *disk, unsigned i)
{
    auto_free char *id = mem_printf("disk%u", i);

    json_open(s, NULL, '{');
    json_add_text(s, "id", id);
    json_add_text(s, "path", disk->path);
    json_add_text(s, "image_type", strcmp(disk->format, "qcow2") == 0 ? "Qcow2" : "Raw");
    json_add_bool(s, "readonly", (disk->flags & RUNNER_I_READONLY) != 0);
    json_add_bool(s, "backing_files", disk->backing_path != NULL);
    json_add_text(s, "serial", id);
    json_close(s, '}');
}

/* Of an MTU that it is told Cloud Hypervisor sets the TAP's, which is set already, and which a user of its own may not:
 * there the guest has it from its seed alone. */
static void add_nic(struct str *s, const struct runner_vm *vm, unsigned i, bool is_named)
{
    const struct runner_nic *nic = vm->nics[i];
    auto_free char *id = mem_printf("net%u", i);

    json_open(s, NULL, '{');
    json_add_text(s, "id", id);
    if (is_named && nic->name[0] != '\0')
        json_add_text(s, "tap", nic->name);
    json_add_text(s, "mac", nic->mac);
    if (nic->mtu != 0 && vm->uid == 0)
        json_add_int(s, "mtu", nic->mtu);
    json_close(s, '}');
}

void vmconfig_build_nic(const struct runner_vm *vm, unsigned i, struct str *ret)
{
    add_nic(ret, vm, i, false);
}

/* ---- devices ---- */

static void add_console(struct str *s, const struct runner_vm *vm)
{
    json_open(s, "serial", '{');
    json_add_text(s, "mode", "File");
    json_add_text(s, "file", vm->serial_path);
    json_close(s, '}');
    json_open(s, "console", '{');
    json_add_text(s, "mode", "Off");
    json_close(s, '}');
}

/* None where the path is too long for a socket: nothing that a sandbox needs today goes over it. */
static void add_vsock(struct str *s, const struct runner_vm *vm)
{
    auto_free char *path = ch_vsock_path(vm);

    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return;
    json_open(s, "vsock", '{');
    json_add_text(s, "id", "vsock0");
    json_add_int(s, "cid", GUEST_CID);
    json_add_text(s, "socket", path);
    json_close(s, '}');
}

static void add_helpers(struct str *s, const struct ch *ch)
{
    if (ch->balloon) {
        json_open(s, "balloon", '{');
        json_add_text(s, "id", "balloon0");
        json_add_int(s, "size", 0);
        json_add_bool(s, "deflate_on_oom", true);
        json_add_bool(s, "free_page_reporting", true);
        json_close(s, '}');
    }
    json_add_bool(s, "pvpanic", true);
    json_add_bool(s, "watchdog", ch->watchdog);
}

/* ---- landlock ---- */

static void add_rule(struct str *s, const char *path, const char *access)
{
    json_open(s, NULL, '{');
    json_add_text(s, "path", path);
    json_add_text(s, "access", access);
    json_close(s, '}');
}

/*
 * Cloud Hypervisor makes rules for the paths of its configuration itself. What it does not think of: backing files, the
 * device that a TAP is opened by, and its own directory for what it makes later. Each must exist.
 */
static void add_rules(struct str *s, const struct runner_vm *vm, const struct vmconfig_how *how)
{
    json_add_bool(s, "landlock_enable", true);
    json_open(s, "landlock_rules", '[');
    for (unsigned i = 0; i < vm->n_disks; i++)
        if (vm->disks[i]->backing_path != NULL)
            add_rule(s, vm->disks[i]->backing_path, "r");
    if (vm->vmm_dir != NULL)
        add_rule(s, vm->vmm_dir, "rw");
    if (how->opens_taps && vm->n_nics > 0)
        add_rule(s, "/dev/net/tun", "rw");
    json_close(s, ']');
}

/* ---- all of it ---- */

void vmconfig_build(const struct ch *ch, const struct runner_vm *vm, const struct vmconfig_how *how, struct str *ret)
{
    json_open(ret, NULL, '{');
    add_payload(ret, vm);
    add_cpus(ret, ch, vm);
    add_memory(ret, ch, vm);
    json_open(ret, "disks", '[');
    for (unsigned i = 0; i < vm->n_disks; i++)
        add_disk(ret, vm->disks[i], i);
    json_close(ret, ']');
    if (how->opens_taps && vm->n_nics > 0) {
        json_open(ret, "net", '[');
        for (unsigned i = 0; i < vm->n_nics; i++)
            add_nic(ret, vm, i, true);
        json_close(ret, ']');
    }
    add_console(ret, vm);
    add_vsock(ret, vm);
    add_helpers(ret, ch);
    if (how->has_landlock)
        add_rules(ret, vm, how);
    json_close(ret, '}');
}
