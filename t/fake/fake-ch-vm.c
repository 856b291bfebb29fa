/* The machine: consoles, boot and end. */
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
    memcpy(address.sun_path, path, strlen(path));
    console.serial = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(console.serial, (struct sockaddr *)&address, sizeof address) < 0 || listen(console.serial, 1) < 0)
        return cause_errno(c, errno, "Error creating console devices", "Error creating console device", NULL);
    memcpy(console.path, path, strlen(path) + 1);
    console.is_socket = true;
    return 0;
}

static int console_create(const char *path, int *ret_fd, struct cause *c)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

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

/* What makes a kernel of a file: ELF or bzImage. */
static int payload_load(struct cause *c)
{
    struct json *payload = tree_member(vm.config, "payload");
    const char *kernel = json_text(payload, "kernel", json_text(payload, "firmware", ""));
    const char *initramfs = json_text(payload, "initramfs", NULL);
    auto_free char *head = mem_alloc(65536);
    auto_close int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return cause_errno(c, errno, "Cannot open kernel file", NULL);
    n = read(fd, head, 65535);
    fguest_know(head, n > 0 ? (size_t)n : 0);
    if (n < 4 || (memcmp(head, "\177ELF", 4) != 0 && (n < 0x206 || memcmp(head + 0x202, "HdrS", 4) != 0)))
        return cause_set(c, "Cannot load the kernel into memory",
                         "Kernel Loader: failed to load bzImage kernel image: Kernel Loader: Invalid bzImage",
                         "Kernel Loader: Invalid bzImage", NULL);
    if (initramfs != NULL && access(initramfs, R_OK) < 0)
        return cause_errno(c, errno, "Cannot open initramfs file", NULL);
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
    vm.is_confined = true;
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
    vm.plugged = 0;
    vm.balloon = 0;
    vm.ram = config_memory(vm.config);
    vm.ram_max = vm.ram + json_int(memory, "hotplug_size", 0);
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
    if (!console.is_open && vm_consoles_open(c) < 0)
        return -1;
    if (config_validate(vm.config, c) < 0) {
        cause_wrap(c, "Failed to validate config", NULL);
        return -1;
    }
    if (check_zones(c) < 0)
        return -1;
    sizes_set();
    if (device_start_all(c) < 0) {
        cause_wrap(c, "Error from device manager", NULL);
        return -1;
    }
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
