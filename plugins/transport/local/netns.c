/* A network namespace is made by a thread that ends in it: no thread ever has to find its way back, and none that works on
 * other things is ever elsewhere than at home. Nothing of it has a name: the queue of the TAP holds it. */
#include "plugins/transport/local/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>

#include "plugins/transport/local/netlink.h"
#include "plugins/transport/local/tap.h"

#define VETH "eth0" /* there */

struct making {
    const struct runner_step *step;
    int home; /* the namespace that the port is to be in */
    int fd;   /* of the TAP */
    struct runner_error *err;
    int status;
};

static int fail_unshare(const char *name, int sys_errno, struct runner_error *err)
{
    switch (sys_errno) {
    case EPERM:
        return fail(err, RUNNER_E_NOTSUP, EPERM, "tap '%s': a network namespace needs CAP_SYS_ADMIN", name);
    case ENOSPC:
        return fail(err, RUNNER_E_NOSPACE, ENOSPC, "tap '%s': user.max_net_namespaces are there", name);
    case EINVAL:
        return fail(err, RUNNER_E_NOTSUP, EINVAL, "tap '%s': this kernel has no network namespaces", name);
    default:
        return fail_errno(err, sys_errno, "tap '%s': make a network namespace", name);
    }
}

/* The rules first: nothing passes before them. */
static int say_messages(const struct runner_netns *netns, const char *name, struct runner_error *err)
{
    if (netns->rules != NULL &&
        messages_exchange(NULL, NETLINK_NETFILTER, netns->rules, netns->rules_len, NULL, err) < 0)
        return error_wrap(err, "tap '%s': rules in its namespace", name);
    if (netns->routes != NULL &&
        messages_exchange(NULL, NETLINK_ROUTE, netns->routes, netns->routes_len, NULL, err) < 0)
        return error_wrap(err, "tap '%s': routes in its namespace", name);
    return 0;
}

/* netlink: of the namespace. */
static int connect_home(const struct making *m, struct netlink *n)
{
    const char *name = m->step->path;
    int r;

    netlink_veth(n, VETH, RUNNER_NETNS_VETH, name, m->home);
    r = netlink_send(n, NULL);
    if (r == -EEXIST)
        return fail(m->err, RUNNER_E_EXISTS, 0, "tap '%s': the name is taken", name);
    if (r < 0)
        return fail_errno(m->err, -r, "tap '%s': make a veth", name);
    if (say_messages(m->step->netns, name, m->err) == 0)
        return 0;
    netlink_delete(n, RUNNER_NETNS_VETH); /* else it would have the name until the namespace is gone */
    (void)netlink_send(n, NULL);
    return -1;
}

static int furnish(struct making *m)
{
    const char *name = m->step->path;
    struct netlink n;
    int r;

    if (unshare(CLONE_NEWNET) < 0)
        return fail_unshare(name, errno, m->err);
    tap_disable_ipv6("all");
    tap_disable_ipv6("default"); /* of those that are made from now on */
    r = tap_open(name, IFF_TUN_EXCL, RUNNER_NETNS_TAP, &m->fd);
    if (r == 0)
        r = tap_set(m->fd, (uid_t)m->step->number);
    if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
        return fail(m->err, RUNNER_E_NOTSUP, -r, "tap '%s': no /dev/net/tun", name);
    if (r < 0)
        return fail_errno(m->err, -r, "make tap '%s' in a namespace", name);
    r = netlink_open(&n);
    if (r < 0)
        return fail_errno(m->err, -r, "tap '%s': make a veth", name);
    r = connect_home(m, &n);
    netlink_close(&n);
    return r;
}

static void *making_main(void *arg)
{
    struct making *m = arg;

    m->status = furnish(m);
    return NULL;
}

static int check(const struct runner_step *step, struct runner_error *err)
{
    if (step->flags & RUNNER_S_IDLE)
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': no idle one is in a namespace of its own", step->path);
    if (!(step->flags & RUNNER_S_HELD))
        return fail(err, RUNNER_E_INVALID, 0, "tap '%s': by its name nobody can open it in its namespace", step->path);
    return 0;
}

int netns_make(const struct runner_step *step, int *ret_fd, int *ret_index, struct runner_error *err)
{
    auto_close int home = -1;
    struct making m = {.step = step, .fd = -1, .err = err, .status = -1};
    pthread_t thread;
    int r;

    if (check(step, err) < 0)
        return -1;
    home = m.home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return fail_errno(err, errno, "network namespace of the runner");
    r = pthread_create(&thread, NULL, making_main, &m);
    if (r != 0)
        return fail_errno(err, r, "tap '%s': thread for its namespace", step->path);
    (void)pthread_join(thread, NULL);
    *ret_index = m.status == 0 ? (int)if_nametoindex(step->path) : 0;
    if (m.status == 0 && *ret_index == 0)
        m.status = fail_errno(err, errno, "interface '%s'", step->path);
    if (m.status < 0) {
        cleanup_close(&m.fd); /* and all of it goes */
        return -1;
    }
    tap_disable_ipv6(step->path);
    *ret_fd = m.fd;
    return 0;
}
