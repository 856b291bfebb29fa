/* TAP_ADD, TAP_DEL and tap:name. The kernel's answers to each mistake were measured; see README.md. */
#include "plugins/transport/local/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <string.h>
#include <sys/ioctl.h>

#include "plugins/transport/local/grave.h"
#include "plugins/transport/local/launch.h"
#include "plugins/transport/local/netlink.h"
#include "plugins/transport/local/netns.h"

#define VNET_HDR_BYTES 12
#define BRIDGE_PORTS   1023 /* the kernel's BR_MAX_PORTS is one more, and none is number 0 */
#define OFFLOADS       (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

/* A longer one the kernel would cut, and so hit another sandbox's interface. */
static int check_name(const char *name, struct runner_error *err)
{
    size_t len = strlen(name);

    if (len < 1 || len >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/:% \t\n"))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no interface name of 1 to %d bytes", name, IFNAMSIZ - 1);
    return 0;
}

/* data of the step: a name that ends with NUL, or NULL. */
static int idle_name(const struct runner_step *step, const char **ret_name, struct runner_error *err)
{
    *ret_name = NULL;
    if (step->data == NULL || step->len == 0)
        return 0;
    if (((const char *)step->data)[step->len - 1] != '\0')
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': the name of the idle one does not end with NUL", step->path);
    *ret_name = step->data;
    return check_name(*ret_name, err);
}

/* Of the step: whose the TAP is. */
struct whose {
    bool is_known, has_address;
    uint8_t mac[MAC_BYTES];
    struct in_addr address;
    uint32_t group;
};

static int read_port(const struct runner_step *step, struct whose *ret, struct runner_error *err)
{
    const struct runner_port *port = step->port;
    struct ether_addr mac;

    *ret = (struct whose){.is_known = port != NULL};
    if (port == NULL)
        return 0;
    if (port->mac == NULL || strlen(port->mac) != 17 || ether_aton_r(port->mac, &mac) == NULL ||
        (mac.ether_addr_octet[0] & 1))
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': '%s' is no MAC address of a machine", step->path,
                    port->mac != NULL ? port->mac : "");
    ret->has_address = port->address != NULL && port->address[0] != '\0';
    if (ret->has_address && inet_pton(AF_INET, port->address, &ret->address) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': '%s' is no IPv4 address", step->path, port->address);
    memcpy(ret->mac, mac.ether_addr_octet, MAC_BYTES);
    ret->group = port->group;
    return 0;
}

int tap_open(const char *name, bool excl, uid_t owner, unsigned number, int *ret_fd)
{
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (excl ? IFF_TUN_EXCL : 0))};
    int header = VNET_HDR_BYTES;

    if (fd < 0)
        return -errno;
    memcpy(request.ifr_name, name, strlen(name));
    if ((number != 0 && ioctl(fd, TUNSETIFINDEX, &number) < 0) || ioctl(fd, TUNSETIFF, &request) < 0 ||
        (!excl && ioctl(fd, TUNSETPERSIST, 0) < 0) || ioctl(fd, TUNSETOWNER, owner) < 0 ||
        ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETOFFLOAD, OFFLOADS) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

void tap_disable_ipv6(const char *name)
{
    auto_free char *path = mem_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) /* absent: a kernel without IPv6 */
        (void)!write(fd, "1", 1);
}

/* 0: no interface has the name. -1: it is not known whether one has, as the question needs a descriptor. */
static int index_of(const char *name, struct runner_error *err)
{
    unsigned index = if_nametoindex(name);

    if (index == 0 && errno != ENODEV)
        return fail_errno(err, errno, "interface '%s'", name);
    return (int)index;
}

static int fail_create(const char *name, int r, struct runner_error *err)
{
    /* The driver says EBUSY or EINVAL, never EEXIST. */
    if ((r == -EBUSY || r == -EINVAL) && if_nametoindex(name) != 0)
        return fail(err, RUNNER_E_EXISTS, 0, "tap '%s': the name is taken", name);
    if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
        return fail(err, RUNNER_E_NOTSUP, -r, "tap '%s': no /dev/net/tun", name);
    return fail_errno(err, -r, "make tap '%s'", name);
}

/* An interface to become step->path: the idle one when it is there and nobody holds it, else a new one. Two may have been
 * told the same idle one: while the descriptor is open it is ours alone. */
static int obtain(const struct runner_step *step, const char *idle, int *ret_fd, int *ret_index, bool *ret_is_idle,
                  struct runner_error *err)
{
    const char *name = step->path;
    int r = -ENODEV;

    if (idle != NULL && if_nametoindex(idle) != 0) {
        r = tap_open(idle, false, (uid_t)step->number, 0, ret_fd);
        name = idle;
    }
    *ret_is_idle = r == 0;
    if (r < 0) {
        name = step->path;
        r = tap_open(name, true, (uid_t)step->number, 0, ret_fd);
    }
    if (r < 0)
        return fail_create(step->path, r, err);
    *ret_index = (int)if_nametoindex(name);
    if (*ret_index == 0)
        return fail_errno(err, errno, "tap '%s'", name);
    tap_disable_ipv6(name);
    return 0;
}

/* Before the guest has it, so that no packet passed in between. */
static int bind_port(const struct runner_step *step, const struct whose *whose, int index, int bridge,
                     struct runner_error *err)
{
    int r = netlink_port(index, step->flags & RUNNER_S_ISOLATED, whose->is_known);

    if (r < 0 && (whose->is_known || (step->flags & RUNNER_S_ISOLATED)))
        return fail_errno(err, -r, "tap '%s': flags of the bridge port", step->path);
    if (!whose->is_known)
        return 0;
    r = netlink_forward_to(index, whose->mac);
    if (r < 0)
        return fail_errno(err, -r, "tap '%s': its MAC address on '%s'", step->path, step->to);
    if (whose->has_address)
        r = netlink_neighbour(bridge, whose->address, whose->mac);
    if (r < 0)
        return fail_errno(err, -r, "tap '%s': whose its address is on '%s'", step->path, step->to);
    return 0;
}

static int join(const struct runner_step *step, const struct whose *whose, int index, bool is_idle,
                struct runner_error *err)
{
    struct link_change change = {.index = index, .up = 1, .master = -1, .group = whose->group};
    int r;

    if (step->to != NULL) {
        change.master = index_of(step->to, err);
        if (change.master < 0)
            return error_wrap(err, "tap '%s'", step->path);
        if (change.master == 0)
            return fail(err, RUNNER_E_NOTFOUND, ENODEV, "tap '%s': bridge '%s'", step->path, step->to);
    }
    if (is_idle)
        change.rename = step->path;
    r = netlink_change(&change);
    if (r == -EEXIST)
        return fail(err, RUNNER_E_EXISTS, 0, "tap '%s': the name is taken", step->path);
    if (r == -EXFULL)
        return fail(err, RUNNER_E_NOSPACE, EXFULL, "tap '%s': bridge '%s' is full: it has %d ports", step->path,
                    step->to, BRIDGE_PORTS);
    if (r < 0)
        return fail_errno(err, -r, "tap '%s': join '%s'", step->path, step->to != NULL ? step->to : "(no bridge)");
    return step->to != NULL ? bind_port(step, whose, index, change.master, err) : 0;
}

/* Nobody has the address any more. */
static int forget_neighbour(const struct runner_step *step, const struct whose *whose, struct runner_error *err)
{
    int bridge, r;

    if (step->to == NULL || !whose->has_address)
        return 0;
    bridge = index_of(step->to, err);
    if (bridge <= 0)
        return bridge < 0 ? error_wrap(err, "tap '%s'", step->path) : 0;
    r = netlink_neighbour(bridge, whose->address, NULL);
    if (r < 0 && r != -ENOENT && r != -ENODEV)
        return fail_errno(err, -r, "tap '%s': forget its address on '%s'", step->path, step->to);
    return 0;
}

/*
 * The kernel waits, under its lock of all interfaces, when a queue of one that is up is closed: 0.4 to 8 ms beside a busy
 * processor. So the queue by which a TAP was set up can be the one that its VMM gets.
 */
struct held {
    struct held *next;
    int fd;
    char name[IFNAMSIZ];
};

static int held_take(struct local *self, const char *name)
{
    struct held **link, *h;
    int fd = -1;

    pthread_mutex_lock(&self->lock);
    for (link = &self->held; *link != NULL && strcmp((*link)->name, name) != 0;)
        link = &(*link)->next;
    h = *link;
    if (h != NULL) {
        *link = h->next;
        fd = h->fd;
        free(h);
    }
    pthread_mutex_unlock(&self->lock);
    return fd;
}

static void held_keep(struct local *self, const char *name, int fd)
{
    struct held *h = mem_alloc(sizeof *h);

    h->fd = fd;
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    pthread_mutex_lock(&self->lock);
    h->next = self->held;
    self->held = h;
    pthread_mutex_unlock(&self->lock);
}

static void held_drop(struct local *self, const char *name)
{
    int fd = held_take(self, name);

    cleanup_close(&fd);
}

void tap_free_all(struct local *self)
{
    while (self->held != NULL)
        held_drop(self, self->held->name);
}

/* Whether the interface that this is a queue of still has the name. */
static bool is_of(int fd, const char *name)
{
    struct ifreq request = {.ifr_flags = 0};

    return ioctl(fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, name) == 0;
}

int tap_add(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    const char *idle;
    struct whose whose;
    struct runner_error more = ERROR_INIT;
    bool is_idle = false;
    int fd = -1, index, status = 0;

    (void)result;
    if (check_name(step->path, err) < 0 || idle_name(step, &idle, err) < 0 || read_port(step, &whose, err) < 0)
        return -1;
    index = index_of(step->path, err);
    if (index < 0)
        return error_wrap(err, "make tap");
    if (index > 0)
        return fail(err, RUNNER_E_EXISTS, 0, "tap '%s': the name is taken", step->path);
    if (step->netns != NULL && netns_make(step, &fd, &index, err) < 0)
        return -1;
    launch_hold(); /* a VMM is about to open it: no copy of ours may be left in another child */
    if (step->netns == NULL)
        status = obtain(step, idle, &fd, &index, &is_idle, err);
    if (status == 0)
        status = join(step, &whose, index, is_idle, err);
    if (status == 0 && ioctl(fd, TUNSETPERSIST, 1) < 0)
        status = fail_errno(err, errno, "keep tap '%s'", step->path);
    if (status == 0 && (step->flags & RUNNER_S_HELD))
        held_keep(a->self, step->path, fd);
    else
        cleanup_close(&fd);
    launch_release();
    if (status < 0 && step->netns != NULL)
        (void)grave_bury(a->self->grave, index); /* else it goes with the namespace, a moment later */
    if (status < 0 && forget_neighbour(step, &whose, &more) < 0)
        error_append(err, "%s", more.message);
    return status;
}

/* A queue of the TAP that has this name; 0 or a negative errno. Where there is none by now, the kernel makes one, which
 * goes with the descriptor. */
static int open_queue(const char *name, int *ret_fd)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    memcpy(request.ifr_name, name, strlen(name));
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static bool is_open(const char *name)
{
    int fd = -1;
    bool is_busy;

    launch_hold();
    is_busy = open_queue(name, &fd) < 0;
    cleanup_close(&fd);
    launch_release();
    return is_busy;
}

static int fail_dial(const char *name, int r, struct runner_error *err)
{
    switch (-r) {
    case EBUSY:
        return fail(err, RUNNER_E_BUSY, EBUSY, "tap '%s': another has it open", name);
    case EINVAL: /* a TUN, a TAP of many queues, a link of another driver */
        return fail(err, RUNNER_E_INVALID, EINVAL, "'%s' is no TAP of one queue", name);
    default:
        return fail_errno(err, -r, "open tap '%s'", name);
    }
}

int tap_dial(struct local *self, const char *name, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = -1;
    int r, index;

    if (check_name(name, err) < 0)
        return -1;
    fd = held_take(self, name);
    if (fd >= 0 && is_of(fd, name)) {
        *ret_fd = fd;
        fd = -1;
        return 0;
    }
    cleanup_close(&fd);
    fd = -1;
    index = index_of(name, err);
    if (index <= 0)
        return index < 0 ? error_wrap(err, "open tap") : fail(err, RUNNER_E_NOTFOUND, ENODEV, "tap '%s'", name);
    launch_hold(); /* when it fails no child may keep a copy */
    r = open_queue(name, &fd);
    if (r == 0 && (int)if_nametoindex(name) != index) { /* removed meanwhile: this is one that the kernel just made */
        cleanup_close(&fd);
        fd = -1;
        r = -ENODEV;
    }
    launch_release();
    if (r == -ENODEV)
        return fail(err, RUNNER_E_NOTFOUND, ENODEV, "tap '%s': it was removed", name);
    if (r < 0)
        return fail_dial(name, r, err);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* Down first: an interface that is up can be renamed only since Linux 6.3. It leaves the bridge and its name at once, and
 * so is found by the one or the other whenever the runner is killed. */
static bool keep_idle(int index, const char *name, const char *idle)
{
    struct link_change rest = {.index = index, .up = 0, .master = -1};
    struct link_change leave = {.index = index, .up = -1, .master = 0, .rename = idle};

    return if_nametoindex(idle) == 0 && netlink_change(&rest) == 0 && !is_open(name) && netlink_change(&leave) == 0;
}

int tap_del(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    const char *idle;
    struct whose whose;
    int r, index;

    (void)result;
    if (check_name(step->path, err) < 0 || idle_name(step, &idle, err) < 0 || read_port(step, &whose, err) < 0)
        return -1;
    held_drop(a->self, step->path);
    if (forget_neighbour(step, &whose, err) < 0)
        return -1;
    index = index_of(step->path, err);
    if (index <= 0)
        return index < 0 ? error_wrap(err, "remove tap") : 0;
    r = netlink_is_tap(index);
    if (r == 0) { /* the port of one in a namespace, which is not kept */
        idle = NULL;
        r = netlink_is_kind(index, "veth");
    }
    if (r == 0)
        r = netlink_is_kind(index, "ifb");
    if (r == 0)
        return fail(err, RUNNER_E_INVALID, 0, "remove tap '%s': it is not a TAP", step->path);
    if (r > 0 && idle != NULL && keep_idle(index, step->path, idle))
        return 0;
    if (r > 0)
        r = grave_bury(a->self->grave, index);
    if (r < 0 && r != -ENODEV)
        return fail_errno(err, -r, "remove tap '%s'", step->path);
    return 0;
}
