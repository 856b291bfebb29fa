/* The machine: consoles, boot and end. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

struct vm vm;

static struct {
    int serial; /* -1: none */
    bool is_open, is_socket;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
} console = {.serial = -1};

/* ---- consoles ---------------------------------------------------------------------------------------------------- */

static int console_bind(const char *path, struct cause *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return cause_set(c, "Error creating console devices", "Error creating console device",
                         "path must be shorter than SUN_LEN", NULL);
    if (!landlock_allows(path, true))
        return cause_errno(c, EACCES, "Error creating console devices", "Error creating console device", NULL);
    memcpy(address.sun_path, path, strlen(path));
    console.serial = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(console.serial, (struct sockaddr *)&address, sizeof address) < 0 || listen(console.serial, 1) < 0)
        return cause_errno(c, errno, "Error creating console devices", "Error creating console device", NULL);
    memcpy(console.path, path, strlen(path) + 1);
    console.is_socket = true;
    return 0;
}

static int open_allowed(const char *path, int flags)
{
    if (landlock_allows(path, (flags & O_ACCMODE) != O_RDONLY))
        return open(path, flags, 0666);
    errno = EACCES;
    return -1;
}

static int console_create(const char *path, int *ret_fd, struct cause *c)
{
    int fd = open_allowed(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);

    if (fd < 0)
        return cause_errno(c, errno, "Error creating console devices", "Error creating console device", NULL);
    if (ret_fd != NULL)
        *ret_fd = fd;
    else
        close(fd);
    return 0;
}

static bool is_mode(const struct json *j, const char *mode)
{
    return strcmp(json_text(j, "mode", ""), mode) == 0;
}

void vm_serial(const char *text)
{
    if (console.serial >= 0 && !console.is_socket)
        (void)!write(console.serial, text, strlen(text));
}

static void consoles_close(void)
{
    if (console.serial >= 0)
        close(console.serial);
    if (console.is_socket)
        (void)unlink(console.path);
    console.serial = -1;
    console.is_socket = console.is_open = false;
}

int vm_consoles_open(struct cause *c)
{
    struct json *serial = tree_member(vm.config, "serial"), *virtio = tree_member(vm.config, "console");

    consoles_close();
    if (is_mode(virtio, "File") && console_create(json_text(virtio, "file", ""), NULL, c) < 0)
        return -1;
    if (is_mode(virtio, "Socket"))
        return cause_set(c, "Error creating console devices", "No socket option support for console device", NULL);
    if (is_mode(serial, "File") && console_create(json_text(serial, "file", ""), &console.serial, c) < 0)
        return -1;
    if (is_mode(serial, "Socket") && console_bind(json_text(serial, "socket", ""), c) < 0)
        return -1;
    if (is_mode(serial, "Tty"))
        console.serial = dup(STDOUT_FILENO);
    console.is_open = true;
    return 0;
}

/* ---- payload ----------------------------------------------------------------------------------------------------- */

/* Where the last byte of an ELF file comes to lie, of what is found in its first bytes. */
static int64_t elf_end(const char *head, size_t len)
{
    Elf64_Ehdr elf;
    int64_t end = 0;

    memcpy(&elf, head, sizeof elf);
    for (size_t i = 0; i < elf.e_phnum && elf.e_phoff + (i + 1) * sizeof(Elf64_Phdr) <= len; i++) {
        Elf64_Phdr part;

        memcpy(&part, head + elf.e_phoff + i * sizeof part, sizeof part);
        if (part.p_type == PT_LOAD && (int64_t)(part.p_paddr + part.p_memsz) > end)
            end = (int64_t)(part.p_paddr + part.p_memsz);
    }
    return end;
}

/* What makes a kernel of a file: ELF or bzImage. An ELF file that the memory has no room for is taken for the latter. */
static bool is_kernel(const char *head, size_t len)
{
    if (len >= sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0)
        return elf_end(head, len) <= config_memory(vm.config);
    return (len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0) ||
           (len >= 0x206 && memcmp(head + 0x202, "HdrS", 4) == 0);
}

static int payload_load(struct cause *c)
{
    struct json *payload = tree_member(vm.config, "payload");
    const char *kernel = json_text(payload, "kernel", json_text(payload, "firmware", ""));
    const char *initramfs = json_text(payload, "initramfs", NULL);
    auto_free char *head = mem_alloc(65536);
    auto_close int fd = open_allowed(kernel, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return cause_errno(c, errno, "Cannot open kernel file", NULL);
    n = read(fd, head, 65535);
    fguest_know(head, n > 0 ? (size_t)n : 0);
    if (n < 0 || !is_kernel(head, (size_t)n))
        return cause_set(c, "Cannot load the kernel into memory",
                         "Kernel Loader: failed to load bzImage kernel image: Kernel Loader: Invalid bzImage",
                         "Kernel Loader: Invalid bzImage", NULL);
    if (initramfs != NULL && (access(initramfs, R_OK) < 0 || !landlock_allows(initramfs, false)))
        return cause_errno(c, landlock_allows(initramfs, false) ? errno : EACCES, "Cannot open initramfs file", NULL);
    return 0;
}

/* ---- landlock ---------------------------------------------------------------------------------------------------- */

int vm_confine(struct cause *c)
{
    if (!json_bool(vm.config, "landlock_enable", false))
        return 0;
    if (fake_wish("no-landlock") != NULL)
        return cause_set(c, "Failed to apply landlock config during vm_create",
                         "Error creating/adding/restricting ruleset",
                         "partially incompatible access-rights: BitFlags<AccessFs>(0b100000000000000, Truncate)", NULL);
    landlock_apply();
    return 0;
}

void vm_check_confined(void)
{
    if (json_bool(vm.config, "landlock_enable", false) && !vm.is_confined)
        ch_fault("vm.boot of a machine whose landlock rules were refused");
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void sizes_set(void)
{
    struct json *memory = tree_member(vm.config, "memory");

    vm.present_vcpus = 0;
    vm.removing_vcpus = false;
    vm.dimms = 0;
    vm.plugged = vm.wanted_plugged = 0;
    vm.balloon = 0;
    vm.ram = config_memory(vm.config);
    vm.ram_max = vm.ram + json_int(memory, "hotplug_size", 0);
}

/* Sizes that are no whole pages are refused, and of those too small for what lies in the first MiB its thread panics. */
static int check_sizes(struct cause *c)
{
    struct json *memory = tree_member(vm.config, "memory"), *zones = tree_member(memory, "zones");
    bool is_odd = json_int(memory, "size", 0) % 4096 != 0;

    for (struct json *zone = zones != NULL ? zones->first : NULL; zone != NULL; zone = zone->next)
        is_odd = is_odd || json_int(zone, "size", 0) % 4096 != 0;
    if (is_odd)
        return cause_set(c, "Memory manager error",
                         "Memory size is misaligned with default page size or its hugepage size", NULL);
    if (config_memory(vm.config) < 1 << 20)
        ch_panic("the guest has no memory for its tables");
    return 0;
}

static int check_zones(struct cause *c)
{
    struct json *memory = tree_member(vm.config, "memory"), *zones = tree_member(memory, "zones");
    int64_t size = json_int(memory, "size", 0);

    if (size == 0 && (zones == NULL || zones->first == NULL))
        return cause_set(c, "Memory manager error", "No memory zones found", NULL);
    if (size != 0 && zones != NULL)
        return cause_set(c, "Memory manager error", "Memory configuration is not valid", NULL);
    return 0;
}

int vm_start(struct cause *c, bool is_restored)
{
    struct json *before;

    if (!console.is_open && vm_consoles_open(c) < 0)
        return -1;
    if (config_validate(vm.config, c) < 0) {
        cause_wrap(c, "Failed to validate config", NULL);
        return -1;
    }
    if (check_zones(c) < 0 || check_sizes(c) < 0)
        return -1;
    sizes_set();
    vm.is_vsock_taken = false;
    before = json_copy(vm.config);
    if (device_start_all(c) < 0) {
        json_free(vm.config); /* no name of a device that it gave is kept, and a vsock that it came to neither (sic) */
        vm.config = before;
        if (vm.is_vsock_taken)
            json_free(json_take(vm.config, "vsock"));
        cause_wrap(c, "Error from device manager", NULL);
        return -1;
    }
    json_free(before);
    vm.exists = true; /* what fails from here on leaves an object */
    vm.state = is_restored ? VM_PAUSED : VM_CREATED;
    if (device_locks(c) < 0)
        return -1;
    if (!is_restored && payload_load(c) < 0)
        return -1;
    vm.present_vcpus = (int)json_int(tree_member(vm.config, "cpus"), "boot_vcpus", 1);
    if (!is_restored)
        vm.state = VM_RUNNING;
    fguest_start(is_restored);
    return 0;
}

void vm_stop(void)
{
    fguest_end();
    device_stop_all();
    consoles_close();
    vm.exists = false;
    vm.state = VM_CREATED;
}

int vm_reboot(struct cause *c)
{
    event_say("vm", "rebooting", NULL, NULL);
    if (!vm.exists) {
        cause_set(c, "VM is not created", NULL);
        c->status = 404;
        return -1;
    }
    vm_stop();
    if (vm_start(c, false) < 0) {
        device_stop_all();
        vm.exists = false;
        return -1;
    }
    event_say("vm", "rebooted", NULL, NULL);
    return 0;
}

/* ---- told -------------------------------------------------------------------------------------------------------- */

void vm_info(struct str *out)
{
    static const char *const names[] = {[VM_CREATED] = "Created", [VM_RUNNING] = "Running", [VM_PAUSED] = "Paused"};
    int64_t memory = config_memory(vm.config);

    json_open(out, NULL, '{');
    json_open(out, "config", '{');
    schema_write(&object_vm, vm.config, out);
    json_close(out, '}');
    json_add_text(out, "state", names[vm.state]);
    json_add_int(out, "memory_actual_size", vm.exists ? memory - vm.balloon + vm.plugged : memory);
    if (vm.exists)
        device_tree(out, "device_tree");
    json_close(out, '}');
}

void vm_counters(struct str *out)
{
    static const char *const disk[] = {"read_bytes", "write_bytes", "read_ops", "write_ops"};
    static const char *const net[] = {"rx_bytes", "rx_frames", "tx_bytes", "tx_frames"};
    static const char *const most[] = {"read_latency_min", "read_latency_max", "write_latency_min",
                                       "write_latency_max"};
    const char *id;
    bool is_disk;

    json_open(out, NULL, '{');
    for (int i = 0; device_counts(i, &id, &is_disk); i++) {
        json_open(out, id, '{');
        for (size_t k = 0; k < ARRAY_LEN(disk); k++)
            json_add_int(out, is_disk ? disk[k] : net[k], 0);
        for (size_t k = 0; is_disk && k < ARRAY_LEN(most); k++) /* beyond 63 bits until the first request */
            str_addf(out, ",\"%s\":18446744073709551615", most[k]);
        if (is_disk)
            str_add(out, ",\"read_latency_avg\":1844674407370955,\"write_latency_avg\":1844674407370955");
        json_close(out, '}');
    }
    json_close(out, '}');
}
