/* The machine: consoles, boot and end, and what the guest does. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"
#include "t/fake/loopback.h"

struct vm vm;

static struct {
    int serial; /* -1: none */
    bool is_open, is_socket;
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
} console = {.serial = -1};

static struct {
    int64_t up_at_ms, end_at_ms, act_at_ms, vcpus_at_ms, balloon_at_ms; /* 0: never */
    bool is_button_due;       /* pressed while paused */
    bool is_probe;            /* it powers off by itself */
    int64_t balloon;          /* what it is asked for */
    int vcpus;
    bool has_acted;           /* the wish "guest" is done once */
} guest;

/* ---- consoles ----------------------------------------------------------------------------------------------------- */

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

/* ---- payload ------------------------------------------------------------------------------------------------------ */

/* What makes a kernel of a file: ELF or bzImage. A text is taken too when the fake need not be strict. */
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
    guest.is_probe = n > 0 && memmem(head, (size_t)n, "runner-probe-ok", 15) != NULL;
    if (n < 4 || (memcmp(head, "\177ELF", 4) != 0 && (n < 0x206 || memcmp(head + 0x202, "HdrS", 4) != 0) &&
                  fake_wish("any-kernel") == NULL))
        return cause_set(c, "Cannot load the kernel into memory",
                         "Kernel Loader: failed to load bzImage kernel image: Kernel Loader: Invalid bzImage",
                         "Kernel Loader: Invalid bzImage", NULL);
    if (initramfs != NULL && access(initramfs, R_OK) < 0)
        return cause_errno(c, errno, "Cannot open initramfs file", NULL);
    return 0;
}

/* ---- the guest ---------------------------------------------------------------------------------------------------- */

static void guest_start(bool is_restored)
{
    struct json *nets = tree_member(vm.config, "net");
    uint32_t address = nets != NULL && nets->first != NULL ? loopback_address(json_text(nets->first, "mac", "")) : 0;
    const char *wish = fake_wish("guest"), *ms = wish != NULL ? strchr(wish, ' ') : NULL;
    bool had_acted = guest.has_acted;

    guest.up_at_ms = is_restored ? 0 : fake_now_ms() + fake_wish_ms("boot-ms");
    if (ms != NULL && !had_acted)
        guest.act_at_ms = fake_now_ms() + strtol(ms, NULL, 10);
    if (address != 0 && !guest_listen(address, LOOPBACK_PORT))
        ch_fault("the guest cannot listen at the address of its MAC %s: %s", json_text(nets->first, "mac", ""),
                 strerror(errno));
}

static void guest_say(const char *text)
{
    if (console.serial >= 0 && !console.is_socket)
        (void)dprintf(console.serial, "%s\r\n", text);
}

static void guest_up(void)
{
    const char *text = fake_wish("serial");

    guest.up_at_ms = 0;
    guest_say(guest.is_probe ? "runner-probe-ok" : text != NULL ? text : "fake guest is up");
    if (guest.is_probe)
        guest.end_at_ms = fake_now_ms();
}

static void guest_power_off(void)
{
    guest.end_at_ms = 0;
    if (!ch.is_kept)
        ch_stop();
    vm_stop();
    event_say("vm", "shutdown", NULL, NULL);
}

/* By the guest itself: where it fails the process ends, and not cleanly. */
static void guest_reboot(void)
{
    struct cause c = {.json = STR_INIT};

    if (vm_reboot(&c) == 0)
        return;
    (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following chain of errors:\n  0: %s\n", c.json.ptr);
    exit(1);
}

static void guest_act(void)
{
    const char *wish = fake_wish("guest");

    guest.act_at_ms = 0;
    guest.has_acted = true;
    if (strncmp(wish, "poweroff", 8) == 0)
        guest_power_off();
    else if (strncmp(wish, "reboot", 6) == 0)
        guest_reboot();
    else if (strncmp(wish, "panic", 5) == 0 && json_bool(vm.config, "pvpanic", false))
        event_say("guest", "panic", "event", "panic");
    else if (strncmp(wish, "crash", 5) == 0)
        ch_signal_self(SIGSYS);
}

void vm_power_button(void)
{
    if (fake_wish("ignore-powerdown") != NULL)
        return;
    if (vm.state == VM_RUNNING)
        guest.end_at_ms = fake_now_ms() + fake_wish_ms("powerdown-ms");
    else
        guest.is_button_due = true;
}

/* How long the guest takes for what it is asked; -1: it never does. */
static int64_t guest_delay_ms(void)
{
    const char *wish = fake_wish("eject-ms");

    return wish == NULL ? 5 : strcmp(wish, "never") == 0 ? -1 : strtol(wish, NULL, 10);
}

void vm_remove_vcpus(int left)
{
    guest.vcpus = left;
    vm.removing_vcpus = true;
    guest.vcpus_at_ms = guest_delay_ms() < 0 ? 0 : fake_now_ms() + guest_delay_ms();
}

void vm_balloon(int64_t bytes)
{
    guest.balloon = bytes;
    guest.balloon_at_ms = guest_delay_ms() < 0 ? 0 : fake_now_ms() + guest_delay_ms();
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

int64_t vm_wake_at_ms(void)
{
    if (!vm.exists || vm.state != VM_RUNNING)
        return 0;
    return earlier(earlier(guest.up_at_ms, guest.end_at_ms),
                   earlier(guest.act_at_ms, earlier(guest.vcpus_at_ms, guest.balloon_at_ms)));
}

static bool is_due(int64_t *at_ms)
{
    bool due = *at_ms != 0 && fake_now_ms() >= *at_ms;

    if (due)
        *at_ms = 0;
    return due;
}

void vm_tick(void)
{
    guest_is_stopped = !vm.exists || vm.state != VM_RUNNING || guest.up_at_ms != 0;
    if (!vm.exists || vm.state != VM_RUNNING)
        return;
    if (guest.is_button_due) {
        guest.is_button_due = false;
        vm_power_button();
    }
    if (is_due(&guest.up_at_ms))
        guest_up();
    if (is_due(&guest.vcpus_at_ms)) {
        vm.present_vcpus = guest.vcpus;
        vm.removing_vcpus = false;
    }
    if (is_due(&guest.balloon_at_ms))
        vm.balloon = guest.balloon;
    if (is_due(&guest.end_at_ms))
        guest_power_off();
    else if (is_due(&guest.act_at_ms))
        guest_act();
    guest_is_stopped = !vm.exists || vm.state != VM_RUNNING || guest.up_at_ms != 0;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

static void sizes_set(void)
{
    struct json *memory = tree_member(vm.config, "memory"), *balloon = tree_member(vm.config, "balloon");

    vm.present_vcpus = 0;
    vm.removing_vcpus = false;
    vm.dimms = 0;
    vm.plugged = 0;
    vm.balloon = 0;
    guest.balloon = json_int(balloon, "size", 0);
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
    guest.end_at_ms = guest.act_at_ms = guest.vcpus_at_ms = guest.balloon_at_ms = 0;
    guest.is_button_due = false;
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
    guest_start(is_restored);
    return 0;
}

void vm_stop(void)
{
    guest_close();
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

/* ---- told --------------------------------------------------------------------------------------------------------- */

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
    static const char *const most[] = {"read_latency_min", "read_latency_max", "read_latency_avg",
                                       "write_latency_min", "write_latency_max", "write_latency_avg"};
    const char *id;
    bool is_disk;

    json_open(out, NULL, '{');
    for (int i = 0; device_counts(i, &id, &is_disk); i++) {
        json_open(out, id, '{');
        for (size_t k = 0; k < ARRAY_LEN(disk); k++)
            json_add_int(out, is_disk ? disk[k] : net[k], 0);
        for (size_t k = 0; is_disk && k < ARRAY_LEN(most); k++) /* beyond 63 bits until the first request */
            str_addf(out, ",\"%s\":18446744073709551615", most[k]);
        json_close(out, '}');
    }
    json_close(out, '}');
}
