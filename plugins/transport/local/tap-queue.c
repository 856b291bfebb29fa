/* Queues of TAPs: opened, kept for a VMM, dialled. */
#include "plugins/transport/local/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "plugins/transport/local/launch.h"

#define VNET_HDR_BYTES 12
#define OFFLOADS       (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

int tap_check_name(const char *name, struct runner_error *err)
{
    size_t len = strlen(name);

    if (len < 1 || len >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/:% \t\n"))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no interface name of 1 to %d bytes", name, IFNAMSIZ - 1);
    return 0;
}

int tap_open(const char *name, short flags, unsigned number, int *ret_fd)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags)};
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    memcpy(request.ifr_name, name, strlen(name));
    if (fd < 0 || (number != 0 && ioctl(fd, TUNSETIFINDEX, &number) < 0) || ioctl(fd, TUNSETIFF, &request) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int tap_set(int fd, uid_t owner)
{
    int header = VNET_HDR_BYTES;

    return ioctl(fd, TUNSETOWNER, owner) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
                   ioctl(fd, TUNSETOFFLOAD, OFFLOADS) < 0
               ? -errno
               : 0;
}

void tap_disable_ipv6(const char *name)
{
    auto_free char *path = mem_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) /* absent: a kernel without IPv6 */
        (void)!write(fd, "1", 1);
}

/* ---- queues that are kept ---- */

struct held {
    struct held *next;
    int fd;
    char name[IFNAMSIZ];
};

static int take(struct local *self, const char *name)
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

void tap_keep(struct local *self, const char *name, int fd)
{
    struct held *h = mem_alloc(sizeof *h);

    h->fd = fd;
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    pthread_mutex_lock(&self->lock);
    h->next = self->held;
    self->held = h;
    pthread_mutex_unlock(&self->lock);
}

void tap_drop(struct local *self, const char *name)
{
    int fd = take(self, name);

    cleanup_close(&fd);
}

void tap_free_all(struct local *self)
{
    while (self->held != NULL)
        tap_drop(self, self->held->name);
}

/* Whether the interface that this is a queue of still has the name. */
static bool is_of(int fd, const char *name)
{
    struct ifreq request = {.ifr_flags = 0};

    return ioctl(fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, name) == 0;
}

/* ---- dialled ---- */

/* 0: no interface has the name. -1: it is not known whether one has, as the question needs a descriptor. */
static int index_of(const char *name, struct runner_error *err)
{
    unsigned index = if_nametoindex(name);

    if (index == 0 && errno != ENODEV)
        return fail_errno(err, errno, "interface '%s'", name);
    return (int)index;
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

    if (tap_check_name(name, err) < 0)
        return -1;
    fd = take(self, name);
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
    r = tap_open(name, 0, 0, &fd);
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
