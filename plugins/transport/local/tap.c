/* TAP_ADD, TAP_DEL and tap:name. The kernel's answers to each mistake were measured; see README.md. */
#include "plugins/transport/local/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <string.h>
#include <sys/ioctl.h>

#include "plugins/transport/local/grave.h"
#include "plugins/transport/local/launch.h"
#include "plugins/transport/local/netlink.h"
#include "plugins/transport/local/netns.h"

#define BRIDGE_PORTS 1023 /* the kernel's BR_MAX_PORTS is one more, and none is number 0 */

/* data of the step: a name that ends with NUL, or NULL. */
static int idle_name(const struct runner_step *step, const char **ret_name, struct runner_error *err)
{
    *ret_name = NULL;
    if (step->data == NULL || step->len == 0)
        return 0;
    if (((const char *)step->data)[step->len - 1] != '\0')
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': the name of the idle one does not end with NUL", step->path);
    *ret_name = step->data;
    return tap_check_name(*ret_name, err);
}

/* Of the step: whose the TAP is. */
struct whose {
    bool is_known, has_address, is_routed;
    uint8_t mac[MAC_BYTES];
    struct in_addr address;
    uint32_t group;
    const char *also; /* a bridge, or NULL */
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
    ret->is_routed = ret->has_address && RUNNER_HAS(port, is_routed);
    ret->also = RUNNER_HAS(port, also) ? port->also : NULL;
    return 0;
}

/* ---- making one ---- */

/* Whether it was there before it was opened: one that is new goes with its descriptor. */
static int is_persistent(int fd)
{
    struct ifreq request = {.ifr_flags = 0};

    return ioctl(fd, TUNGETIFF, &request) < 0 ? -errno : (request.ifr_flags & IFF_PERSIST) != 0;
}

/* What a VMM can change of its TAP by its descriptor, but for what is set anyway, is as it was made. What the kernel does
 * not know of cannot have been changed. */
static void reset_queue(int fd)
{
    const struct tun_filter all = {.flags = 0, .count = 0};
    const int none = -1, no = 0, room = INT_MAX;

    (void)ioctl(fd, TUNDETACHFILTER, NULL);
    (void)ioctl(fd, TUNSETTXFILTER, &all);
    (void)ioctl(fd, TUNSETFILTEREBPF, &none);
    (void)ioctl(fd, TUNSETSTEERINGEBPF, &none);
    (void)ioctl(fd, TUNSETSNDBUF, &room);
    (void)ioctl(fd, TUNSETVNETBE, &no);
    (void)ioctl(fd, TUNSETVNETLE, &no);
}

struct tap {               /* that a TAP_ADD makes, or finds idle */
    int fd, index, bridge; /* bridge: that it was put on, or was to be; 0: none */
    bool is_new;
};

static int fail_create(const char *name, const struct netlink *n, int r, struct runner_error *err)
{
    /* The driver says EBUSY or EINVAL, never EEXIST; of an idle one, that somebody has it. */
    if ((r == -EBUSY || r == -EINVAL) && netlink_index(n, name) > 0)
        return fail(err, RUNNER_E_EXISTS, -r, "tap '%s': the name is taken", name);
    if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
        return fail(err, RUNNER_E_NOTSUP, -r, "tap '%s': no /dev/net/tun", name);
    return fail_errno(err, -r, "make tap '%s'", name);
}

/* While the descriptor is open it is ours alone. What the runner leaves half made when it is killed goes with it; of an
 * idle one, it is on a bridge, and nobody's. */
static int obtain(const struct runner_step *step, const struct netlink *n, struct tap *ret, struct runner_error *err)
{
    const char *name = step->path;
    int r = tap_open(name, step->flags & RUNNER_S_IDLE ? 0 : IFF_TUN_EXCL, 0, &ret->fd), was_there = 0;

    if (r < 0)
        return fail_create(name, n, r, err);
    r = tap_set(ret->fd, (uid_t)step->number);
    if (r == 0)
        r = was_there = is_persistent(ret->fd);
    if (r < 0)
        return fail_errno(err, -r, "make tap '%s'", name);
    ret->is_new = !was_there;
    ret->index = netlink_index(n, name);
    if (ret->index < 0)
        return fail_errno(err, -ret->index, "tap '%s'", name);
    if (ret->is_new)
        tap_disable_ipv6(name);
    else
        reset_queue(ret->fd);
    return 0;
}

/* ---- its place ---- */

/* A MAC address of its own that no guest has, since theirs begin with 02. A VMM can have changed it to that of another
 * guest, and the bridge then sends frames of that one here. */
static void make_mac(int index, uint8_t mac[MAC_BYTES])
{
    const uint32_t number = htonl((uint32_t)index);

    mac[0] = 0xfe;
    mac[1] = 0x72;
    memcpy(mac + 2, &number, sizeof number);
}

/* NULL: it has it already. Where there are many ports the bridge looks at all of them when one gets another. */
static const uint8_t *plan_mac(const char *name, int index, const struct netlink *n, uint8_t mac[MAC_BYTES])
{
    make_mac(index, mac);
    return netlink_has_mac(n, name, mac) ? NULL : mac;
}

/* One that was idle is down; if not, whatever it has on its bridge goes. */
static int plan_reset(const struct runner_step *step, const struct tap *tap, struct netlink *n)
{
    const struct link_change rest = {.index = tap->index, .up = 0, .master = 0, .group = -1};
    unsigned flags = 0;
    int r = tap->is_new ? 0 : netlink_flags(n, step->path, &flags);

    if (r == 0 && (flags & IFF_UP))
        netlink_change(n, &rest);
    return r;
}

/* Before the guest has it, so that no packet passed in between. */
static void plan_port(const struct runner_step *step, const struct whose *whose, const struct tap *tap,
                      struct netlink *n)
{
    if (whose->is_known || !tap->is_new || (step->flags & RUNNER_S_ISOLATED))
        netlink_port(n, tap->index, step->flags & RUNNER_S_ISOLATED, whose->is_known);
    if (whose->is_known)
        netlink_forward(n, tap->index, whose->mac, true);
    if (whose->is_known && whose->has_address)
        netlink_neighbour(n, tap->bridge, whose->address, whose->mac);
    if (whose->is_routed)
        netlink_route(n, tap->bridge, whose->address, true);
}

/* Nobody has the address any more. bridge 0 or less: there is none. What was forgotten already: fine. */
static int forget_address(const struct whose *whose, int bridge, struct netlink *n)
{
    int r;

    if (bridge <= 0 || !whose->has_address)
        return 0;
    netlink_neighbour(n, bridge, whose->address, NULL);
    if (whose->is_routed)
        netlink_route(n, bridge, whose->address, false);
    r = netlink_send(n, NULL);
    return r == -ENOENT || r == -ESRCH || r == -ENODEV ? 0 : r;
}

/* name: NULL: no bridge. */
static int find_bridge(const struct runner_step *step, const char *name, const struct netlink *n, int *ret,
                       struct runner_error *err)
{
    *ret = name != NULL ? netlink_index(n, name) : 0;
    if (*ret == -ENODEV)
        return fail(err, RUNNER_E_NOTFOUND, ENODEV, "tap '%s': bridge '%s'", step->path, name);
    return *ret < 0 ? fail_errno(err, -*ret, "tap '%s': bridge '%s'", step->path, name) : 0;
}

/* 0 or a negative errno, and what it is about. -EXFULL: the bridge has no port left. */
static int put_on(const struct runner_step *step, const struct whose *whose, const struct tap *tap, struct netlink *n,
                  const char **ret_what)
{
    struct link_change change = {.index = tap->index, .up = 1, .master = tap->bridge, .group = whose->group};
    uint8_t mac[MAC_BYTES];
    int r;

    if (!tap->is_new)
        change.mac = plan_mac(step->path, tap->index, n, mac);
    *ret_what = "its flags";
    r = plan_reset(step, tap, n);
    if (r < 0)
        return r;
    netlink_change(n, &change);
    if (tap->bridge > 0)
        plan_port(step, whose, tap, n);
    return netlink_send(n, ret_what);
}

static int join(const struct runner_step *step, const struct whose *whose, struct tap *tap, struct netlink *n,
                struct runner_error *err)
{
    const char *what, *name = step->to;
    int r;

    if (find_bridge(step, name, n, &tap->bridge, err) < 0)
        return -1;
    r = put_on(step, whose, tap, n, &what);
    if (r == -EXFULL && whose->also != NULL) {
        (void)forget_address(whose, tap->bridge, n); /* which was asked behind that, and done */
        name = whose->also;
        if (find_bridge(step, name, n, &tap->bridge, err) < 0)
            return -1;
        r = put_on(step, whose, tap, n, &what);
    }
    if (r == -EXFULL)
        return fail(err, RUNNER_E_NOSPACE, EXFULL, "tap '%s': bridge '%s' is full: it has %d ports", step->path, name,
                    BRIDGE_PORTS);
    return r < 0 ? fail_errno(err, -r, "tap '%s' on '%s': %s", step->path, name != NULL ? name : "(no bridge)", what)
                 : 0;
}

/* On the bridge that the step names, and on that which it is on. */
static int forget_guest(const struct runner_step *step, const struct whose *whose, int is_on, struct netlink *n,
                        struct runner_error *err)
{
    int named = step->to != NULL ? netlink_index(n, step->to) : 0;
    int r = forget_address(whose, named, n);

    if (r == 0 && is_on != named && step->to != NULL)
        r = forget_address(whose, is_on, n);
    return r < 0 ? fail_errno(err, -r, "tap '%s': forget its address on '%s'", step->path, step->to) : 0;
}

static int add(struct local *self, const struct runner_step *step, const struct whose *whose, struct netlink *n,
               struct runner_error *err)
{
    struct tap tap = {.fd = -1};
    struct runner_error more = ERROR_INIT;
    int status = 0, r;

    if (step->netns != NULL && netns_make(step, &tap.fd, &tap.index, err) < 0)
        return -1;
    tap.is_new = step->netns != NULL;
    launch_hold(); /* a VMM is about to open it: no copy of ours may be left in another child */
    if (step->netns == NULL)
        status = obtain(step, n, &tap, err);
    if (status == 0 && !tap.is_new && !(step->flags & RUNNER_S_HELD)) {
        cleanup_close(&tap.fd); /* while it is down: else the kernel waits */
        tap.fd = -1;
    }
    if (status == 0)
        status = join(step, whose, &tap, n, err);
    if (tap.fd >= 0 && (tap.is_new || status < 0) && ioctl(tap.fd, TUNSETPERSIST, status == 0) < 0 && status == 0)
        status = fail_errno(err, errno, "keep tap '%s'", step->path);
    if (status == 0 && (step->flags & RUNNER_S_HELD))
        tap_keep(self, step->path, tap.fd);
    else
        cleanup_close(&tap.fd);
    launch_release();
    if (status < 0 && tap.index > 0 && (step->netns != NULL || tap.fd < 0))
        (void)grave_bury(self->grave, n, tap.index); /* else it goes with the namespace, a moment later; or stays */
    r = status < 0 ? forget_address(whose, tap.bridge, n) : 0;
    if (r < 0 && fail_errno(&more, -r, "tap '%s': forget its address", step->path) < 0)
        error_append(err, "%s", more.message);
    return status;
}

int tap_add(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    struct whose whose;
    struct netlink n;
    int status;

    (void)result;
    if (tap_check_name(step->path, err) < 0 || read_port(step, &whose, err) < 0)
        return -1;
    status = netlink_open(&n);
    if (status < 0)
        return fail_errno(err, -status, "make tap '%s'", step->path);
    status = add(a->self, step, &whose, &n, err);
    netlink_close(&n);
    return status;
}

/* ---- taking one away ---- */

/* Down, with nothing of whose it was. It stays on its bridge where that is known: to leave it takes the kernel a grace
 * period, as does a new name. All is asked at once: whenever the runner is killed, it is the one or the other. */
static bool keep_idle(const struct runner_step *step, const struct whose *whose, const char *idle, int index,
                      bool is_port, struct netlink *n)
{
    const bool stays = is_port && whose->is_known;
    uint8_t mac[MAC_BYTES];
    const struct link_change rest = {
        .index = index, .up = 0, .master = stays ? -1 : 0, .group = -1, .mac = plan_mac(step->path, index, n, mac)};
    const struct link_change rename = {.index = index, .up = -1, .master = -1, .rename = idle, .group = -1};
    int r;

    netlink_change(n, &rest);
    if (strcmp(step->path, idle) != 0) /* one that is up can be renamed only since Linux 6.3 */
        netlink_change(n, &rename);
    if (stays)
        netlink_forward(n, index, whose->mac, false);
    r = netlink_send(n, NULL);
    return r == 0 || r == -ENOENT; /* of the last, which was forgotten already */
}

/* Down first, as whatever becomes of it: the kernel would make us wait for what it has still to tell of its carrier, and
 * then once more. */
static int look_at(const struct runner_step *step, int index, struct netlink *n, struct link_state *ret)
{
    const struct link_change rest = {.index = index, .up = 0, .master = -1, .group = -1};

    if (netlink_is_tun(n, step->path)) {
        netlink_change(n, &rest);
        (void)netlink_send(n, NULL);
    }
    return netlink_look(n, index, ret);
}

static int take_away(struct local *self, const struct runner_step *step, const struct whose *whose, const char *idle,
                     struct netlink *n, struct runner_error *err)
{
    struct link_state state = {.bridge = 0};
    int index = netlink_index(n, step->path);
    int r = index < 0 ? index : look_at(step, index, n, &state);

    if (r == 0 && !state.is_tap && !state.is_other)
        return fail(err, RUNNER_E_INVALID, 0, "remove tap '%s': it is not a TAP", step->path);
    if (forget_guest(step, whose, state.bridge, n, err) < 0)
        return -1;
    /* A group that its VMM gave it cannot be taken from it. */
    if (r == 0 && idle != NULL && state.is_tap && !state.is_open && !state.has_group &&
        keep_idle(step, whose, idle, index, state.bridge > 0, n))
        return 0;
    if (r == 0)
        r = grave_bury(self->grave, n, index);
    return r < 0 && r != -ENODEV ? fail_errno(err, -r, "remove tap '%s'", step->path) : 0;
}

int tap_del(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    const char *idle;
    struct whose whose;
    struct netlink n;
    int status;

    (void)result;
    if (tap_check_name(step->path, err) < 0 || idle_name(step, &idle, err) < 0 || read_port(step, &whose, err) < 0)
        return -1;
    tap_drop(a->self, step->path);
    status = netlink_open(&n);
    if (status < 0)
        return fail_errno(err, -status, "remove tap '%s'", step->path);
    status = take_away(a->self, step, &whose, idle, &n, err);
    netlink_close(&n);
    return status;
}
