/* The devices of a machine: identifiers, slots of the PCI bus, files, locks, hot-plugging. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

#define SLOTS 32

enum kind { DISK, NET, VSOCK, OTHER, FIXED /* cannot be removed */ };

struct device {
    char *id, *type; /* type: as the error of a removal names it */
    enum kind kind;
    int slot;
    int fd; /* of a disk; -1: none */
    bool is_locked_rw;
    bool has_backing;
    int64_t size, eject_at_ms; /* 0: not due */
    bool is_leaving;
};
static struct device devices[SLOTS]; /* in their slots */
static unsigned counter;             /* one for all kinds of generated identifiers */
static struct fds kept;              /* those of net devices: as long as the configuration */

/* ---- slots ------------------------------------------------------------------------------------------------------- */

static struct device *device_of(const char *id)
{
    for (int i = 1; i < SLOTS; i++)
        if (devices[i].id != NULL && strcmp(devices[i].id, id) == 0)
            return &devices[i];
    return NULL;
}

static void device_free(struct device *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->kind == VSOCK)
        vsock_close();
    free(d->id);
    *d = (struct device){0};
}

static struct device *device_new(const char *id, const char *type, enum kind kind, int64_t wanted, struct cause *c)
{
    int slot = 1;

    if (wanted > 0 && wanted < SLOTS)
        slot = (int)wanted;
    else
        while (slot < SLOTS && devices[slot].id != NULL)
            slot++;
    if (device_of(id) != NULL) {
        cause_setf(c, NULL, "Invalid identifier as it is not unique: %s", id);
        return NULL;
    }
    if (slot == SLOTS || devices[slot].id != NULL) {
        cause_set(c, "Failed to find an available PCI device ID",
                  "Could not find an available device slot on the PCI bus", NULL);
        return NULL;
    }
    devices[slot] =
        (struct device){.id = mem_dup(id), .type = (char *)(uintptr_t)type, .kind = kind, .slot = slot, .fd = -1};
    return &devices[slot];
}

static const char *give_id(struct json *config, const char *prefix)
{
    if (json_text(config, "id", NULL) == NULL) {
        auto_free char *id = mem_printf("_%s%u", prefix, counter++);

        tree_set_text(config, "id", id);
    }
    return json_text(config, "id", "");
}

/* ---- disks ------------------------------------------------------------------------------------------------------- */

static int disk_open(struct json *config, struct device *d, struct cause *c)
{
    const char *path = json_text(config, "path", NULL);
    bool is_readonly = json_bool(config, "readonly", false);
    struct stat st;

    if (json_bool(config, "vhost_user", false))
        return 0;
    if (path == NULL)
        return cause_set(c, "No disk path was specified when one was expected", NULL);
    if (!landlock_allows(path, !is_readonly))
        return image_errno(c, path, EACCES);
    d->fd = open(path, (is_readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (d->fd < 0)
        return image_errno(c, path, errno);
    d->is_locked_rw = !is_readonly;
    if (is_readonly)
        guest_read_seed(path);
    d->size = fstat(d->fd, &st) == 0 ? st.st_size : 0;
    return image_check(c, config, d->fd, &d->has_backing);
}

static int disk_lock(const struct device *d, const char *path, struct cause *c)
{
    struct flock lock = {.l_type = d->is_locked_rw ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_len = d->size};
    auto_free char *text =
        mem_printf("Failed to get %s lock for disk image: %s", d->is_locked_rw ? "Write" : "Read", path);

    if (d->fd < 0 || fcntl(d->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return cause_set(c, "Cannot lock images of all block devices", text, "The file is already locked", NULL);
}

/* ---- networks ---------------------------------------------------------------------------------------------------- */

/* The host's side of a TAP opened by name has an address, which lands in the configuration. */
static void net_host_mac(struct json *config, int fd)
{
    struct ifreq request = {0};
    char text[18];
    const unsigned char *mac = (const unsigned char *)request.ifr_hwaddr.sa_data;

    if (ioctl(fd, TUNGETIFF, &request) < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
        return;
    (void)snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    tree_set_text(config, "host_mac", text);
}

/* Of a TAP, as which not all that tests pass is one; that takes a privilege, even where it is the same as before. */
static int tap_set_mtu(const struct json *config, int fd, struct cause *c, const char *before, const char *more)
{
    struct ifreq request = {0};
    auto_close int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (json_get(config, "mtu") == NULL || ioctl(fd, TUNGETIFF, &request) < 0)
        return 0;
    request.ifr_mtu = (int)json_int(config, "mtu", 0);
    if (ioctl(any, SIOCSIFMTU, &request) == 0)
        return 0;
    cause_errno(c, errno, "Ioctl failed (35106)", NULL);
    if (more != NULL)
        cause_wrap(c, more, NULL);
    cause_wrap(c, "Cannot create virtio-net device", before, NULL);
    return -1;
}

static int tap_open(struct json *config, const char *name, struct device *d, struct cause *c)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    d->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (d->fd < 0)
        return cause_errno(c, errno, "Cannot create virtio-net device", "Failed to open taps", "Open tap device failed",
                           "Couldn't open /dev/net/tun", NULL);
    if (ioctl(d->fd, TUNSETIFF, &request) < 0)
        return cause_errno(c, errno, "Cannot create virtio-net device", "Failed to open taps", "Open tap device failed",
                           "Unable to configure tap interface", NULL);
    net_host_mac(config, d->fd);
    return tap_set_mtu(config, d->fd, c, "Failed to open taps", "Setting MTU failed");
}

static int net_open(struct json *config, struct device *d, struct cause *c)
{
    struct json *fds = tree_member(config, "fds");
    const char *tap = json_text(config, "tap", NULL);

    if (fds != NULL && fds->first != NULL)
        return tap_set_mtu(config, (int)fds->first->number, c, "Using existing tap", NULL);
    if (fake_wish("real-taps") != NULL)
        return tap_open(config, tap != NULL ? tap : "vmtap%d", d, c);
    if (tap == NULL && !json_bool(config, "vhost_user", false))
        tree_set_text(config, "tap", "vmtap0");
    return 0;
}

bool device_take_fds(struct json *net, struct fds *fds)
{
    for (int i = 0; i < fds->n; i++) {
        struct json *number = mem_alloc(sizeof *number);

        number->type = JSON_INT;
        number->number = fds->fd[i];
        tree_append(net, "fds", number);
        if (kept.n < (int)ARRAY_LEN(kept.fd))
            kept.fd[kept.n++] = fds->fd[i];
    }
    fds->n = 0;
    return true;
}

void device_drop_fds(void)
{
    for (int i = 0; i < kept.n; i++)
        close(kept.fd[i]);
    kept.n = 0;
}

static void net_drop_fds(const struct json *config)
{
    const struct json *fds = json_get(config, "fds");

    for (const struct json *fd = fds != NULL ? fds->first : NULL; fd != NULL; fd = fd->next)
        for (int i = 0; i < kept.n; i++)
            if (kept.fd[i] == (int)fd->number) {
                close(kept.fd[i]);
                kept.fd[i--] = kept.fd[--kept.n];
            }
}

/* ---- one device -------------------------------------------------------------------------------------------------- */

static int vsock_open(struct json *config, struct cause *c)
{
    const char *path = json_text(config, "socket", "");
    int r = landlock_allows(path, true) ? vsock_bind(path) : EACCES;

    vm.is_vsock_taken = true;
    if (r == ENAMETOOLONG)
        return cause_set(c, "Cannot create virtio-vsock backend", "Error binding to the host-side Unix socket",
                         "path must be shorter than SUN_LEN", NULL);
    return r == 0 ? 0
                  : cause_errno(c, r, "Cannot create virtio-vsock backend",
                                "Error binding to the host-side Unix socket", NULL);
}

static const struct {
    const char *key, *prefix, *type;
    enum kind kind;
} kinds[] = {
    {"disks", "disk", "block", DISK},
    {"net", "net", "net", NET},
    {"generic_vhost_user", "generic_vhost_user", "generic-vhost-user", OTHER},
    {"fs", "fs", "fs", OTHER},
    {"pmem", "pmem", "pmem", OTHER},
    {"vsock", "vsock", "vsock", VSOCK},
    {"vdpa", "vdpa", "vdpa", OTHER},
    {"devices", "vfio", "vfio", OTHER},
    {"user_devices", "vfio_user", "vfio-user", OTHER},
};

static int kind_of(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].key, key) == 0)
            return (int)i;
    return -1;
}

/* VFIO, vhost-user, pmem and vDPA need what a test has not. */
static int refuse_other(const char *key, const struct json *config, struct cause *c)
{
    if (strcmp(key, "devices") == 0)
        return cause_set(c, "Cannot create a VFIO device", "invalid file path", NULL);
    if (strcmp(key, "pmem") == 0)
        return cause_errno(c, ENOENT, "Cannot open persistent memory file", NULL);
    return cause_setf(c, NULL, "this fake has no %s for %s", key, json_text(config, "id", "it"));
}

static int device_make(int kind, struct json *config, struct device **ret, struct cause *c)
{
    const char *id = give_id(config, kinds[kind].prefix);
    struct device *d = device_new(id, kinds[kind].type, kinds[kind].kind, json_int(config, "pci_device_id", 0), c);
    int r = -1;

    if (d == NULL)
        return -1;
    if (d->kind == DISK)
        r = disk_open(config, d, c);
    else if (d->kind == NET)
        r = net_open(config, d, c);
    else if (d->kind == VSOCK)
        r = vsock_open(config, c);
    else
        r = refuse_other(kinds[kind].key, config, c);
    if (r < 0) {
        if (d->kind == VSOCK)
            d->kind = OTHER; /* it has bound nothing */
        device_free(d);
    } else {
        *ret = d;
    }
    return r;
}

static int make_list(const char *key, struct cause *c)
{
    struct json *list = tree_member(vm.config, key);
    struct device *d;

    if (list != NULL && list->type == JSON_OBJECT)
        return device_make(kind_of(key), list, &d, c);
    for (struct json *item = list != NULL ? list->first : NULL; item != NULL; item = item->next)
        if (device_make(kind_of(key), item, &d, c) < 0)
            return -1;
    return 0;
}

static int make_fixed(bool is_there, const char *id, const char *type, struct cause *c)
{
    return is_there && device_new(id, type, FIXED, 0, c) == NULL ? -1 : 0;
}

int device_start_all(struct cause *c)
{
    bool console = strcmp(json_text(tree_member(vm.config, "console"), "mode", ""), "Off") != 0;
    bool virtio_mem = strcmp(json_text(tree_member(vm.config, "memory"), "hotplug_method", ""), "VirtioMem") == 0 &&
                      tree_member(tree_member(vm.config, "memory"), "hotplug_size") != NULL;

    counter = 0;
    if (make_fixed(console, "__console", "console", c) == 0 && make_list("disks", c) == 0 && make_list("net", c) == 0 &&
        make_fixed(true, "__rng", "rng", c) == 0 && make_list("generic_vhost_user", c) == 0 &&
        make_list("fs", c) == 0 && make_list("pmem", c) == 0 && make_list("vsock", c) == 0 &&
        make_fixed(virtio_mem, "mem0", "mem", c) == 0 &&
        make_fixed(tree_member(vm.config, "balloon") != NULL, "__balloon", "balloon", c) == 0 &&
        make_fixed(json_bool(vm.config, "watchdog", false), "__watchdog", "watchdog", c) == 0 &&
        make_list("vdpa", c) == 0 && make_fixed(tree_member(vm.config, "rtc") != NULL, "__rtc", "rtc", c) == 0 &&
        make_list("devices", c) == 0 && make_list("user_devices", c) == 0 &&
        make_fixed(json_bool(vm.config, "pvpanic", false), "__pvpanic", "pvpanic", c) == 0)
        return 0;
    device_stop_all();
    return -1;
}

void device_stop_all(void)
{
    for (int i = 1; i < SLOTS; i++)
        if (devices[i].id != NULL)
            device_free(&devices[i]);
}

int device_locks(struct cause *c)
{
    struct json *disks = tree_member(vm.config, "disks");

    for (struct json *disk = disks != NULL ? disks->first : NULL; disk != NULL; disk = disk->next) {
        struct device *d = device_of(json_text(disk, "id", ""));

        if (d != NULL && disk_lock(d, json_text(disk, "path", ""), c) < 0) {
            cause_wrap(c, "Error locking disk images: Another instance likely holds a lock", NULL);
            return -1;
        }
    }
    return 0;
}

/* ---- hot-plugging ------------------------------------------------------------------------------------------------ */

int device_add(const char *key, struct json *config, struct cause *c, struct str *ret)
{
    struct device *d = NULL;

    if (device_make(kind_of(key), config, &d, c) < 0)
        return -1;
    if (d->kind == DISK && disk_lock(d, json_text(config, "path", ""), c) < 0) {
        device_free(d);
        return -1;
    }
    str_addf(ret, "{\"id\":\"%s\",\"bdf\":\"0000:00:%02x.0\"}", d->id, d->slot);
    return 0;
}

int device_remove(const char *id, struct cause *c)
{
    struct device *d = device_of(id);
    struct json *net = tree_member(vm.config, "net");

    if (d == NULL && (strcmp(id, "__serial") == 0 || strcmp(id, "__ioapic") == 0))
        return cause_set(c, "Could not find the node in the device tree", NULL);
    if (d == NULL || d->is_leaving)
        return cause_setf(c, NULL, "Failed to find device corresponding to the given identifier: %s", id);
    if (d->kind == FIXED)
        return cause_setf(c, NULL, "Not allowed to remove this type of device from the VM: %s", d->type);
    for (struct json *item = net != NULL ? net->first : NULL; item != NULL; item = item->next)
        if (strcmp(json_text(item, "id", ""), id) == 0)
            net_drop_fds(item);
    if (d->kind == DISK && d->fd >= 0) {
        close(d->fd); /* its lock goes at once */
        d->fd = -1;
    }
    d->is_leaving = true;
    if (fguest_delay_ms() >= 0)
        d->eject_at_ms = fake_now_ms() + fguest_delay_ms();
    return 0;
}

int64_t device_wake_at_ms(void)
{
    int64_t at = 0;

    for (int i = 1; i < SLOTS && vm.state == VM_RUNNING; i++)
        if (devices[i].eject_at_ms != 0 && (at == 0 || devices[i].eject_at_ms < at))
            at = devices[i].eject_at_ms;
    return at;
}

/* A paused guest gives nothing up. */
void device_tick(void)
{
    for (int i = 1; i < SLOTS && vm.state == VM_RUNNING; i++) {
        char bdf[16];

        if (devices[i].eject_at_ms == 0 || fake_now_ms() < devices[i].eject_at_ms)
            continue;
        (void)snprintf(bdf, sizeof bdf, "0000:00:%02x.0", i);
        event_say2("vm", "device-removed", "id", devices[i].id, "bdf", bdf);
        device_free(&devices[i]);
    }
}

int device_resize(const char *id, int64_t size, struct cause *c)
{
    struct device *d = device_of(id);

    if (d == NULL || d->kind != DISK)
        cause_setf(c, NULL, "Failed to find device corresponding to the given identifier: %s", id);
    else if (size % 512 != 0)
        cause_set(c, "Disk resize error", "Disk image size is not a multiple of 512", NULL);
    else if (d->has_backing)
        cause_set(c, "Disk resize error", "Disk resize failed", "Unsupported feature (op=resize)", "Resize failed",
                  "resize not supported with backing files", NULL);
    else if (ftruncate(d->fd, size) < 0)
        cause_errno(c, errno, "Disk resize error", NULL);
    else
        return 0;
    cause_wrap(c, "Error from device manager", NULL);
    return -1;
}

/* ---- told -------------------------------------------------------------------------------------------------------- */

void device_tree(struct str *out, const char *key)
{
    json_open(out, key, '{');
    for (int i = 1; i < SLOTS; i++) {
        auto_free char *parent = NULL;
        char bdf[16];

        if (devices[i].id == NULL)
            continue;
        parent = mem_printf("_virtio-pci-%s", devices[i].id);
        (void)snprintf(bdf, sizeof bdf, "0000:00:%02x.0", i);
        str_addf(out, "%s\"%s\":{\"id\":\"%s\",\"resources\":[],\"children\":[\"%s\"],\"pci_bdf\":\"%s\"}",
                 out->ptr[out->len - 1] == '{' ? "" : ",", parent, parent, devices[i].id, bdf);
        str_addf(out, ",\"%s\":{\"id\":\"%s\",\"resources\":[],\"parent\":\"%s\",\"children\":[]}", devices[i].id,
                 devices[i].id, parent);
    }
    json_close(out, '}');
}

bool device_counts(int index, const char **ret_id, bool *ret_is_disk)
{
    for (int i = 1; i < SLOTS; i++)
        if (devices[i].id != NULL && (devices[i].kind == DISK || devices[i].kind == NET) && index-- == 0) {
            *ret_id = devices[i].id;
            *ret_is_disk = devices[i].kind == DISK;
            return true;
        }
    return false;
}
