/* Of check-transport: interfaces as the kernel has them: ports of bridges, namespaces, what is said by netlink. */
#include "t/run/check-transport.h"

#include <dirent.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a plugin says to the kernel goes there as it is, and what it answers comes back. */
void check_netlink(void)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg about;
    } ask = {{.nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
             {.ifi_family = AF_UNSPEC}},
      two[2] = {ask, ask}, drop = ask;
    const struct nlmsghdr *first;
    size_t n = 0;

    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = &ask, .len = sizeof ask) == 0 && result.len > sizeof *first &&
               (first = (const struct nlmsghdr *)result.out)->nlmsg_type == RTM_NEWLINK,
           "NETLINK: a list");
    for (size_t at = 0; at + sizeof *first <= result.len; n++)
        at += NLMSG_ALIGN(((const struct nlmsghdr *)(result.out + at))->nlmsg_len);
    two[1].about.ifi_index = 1;
    two[1].head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = two, .len = sizeof two) == 0 && n > 0 && result.len > 0,
           "NETLINK: one message after another");
    drop.head.nlmsg_type = RTM_DELLINK;
    drop.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    drop.about.ifi_index = 999999;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = &drop, .len = sizeof drop) < 0 &&
               says(RUNNER_E_NOTFOUND, "message 1 of 1"),
           "NETLINK: the error is the kernel's");
    drop.head.nlmsg_type = RTM_GETLINK;
    drop.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    drop.about.ifi_index = 0;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .path = "lo", .data = &drop, .len = sizeof drop) == 0 &&
               result.len >= sizeof drop && ((const struct ifinfomsg *)NLMSG_DATA(result.out))->ifi_index == 1,
           "NETLINK: about an interface that is named");
    tap_ok(RUN(.kind = RUNNER_NETLINK, .path = "ct-absent", .data = &drop, .len = sizeof drop) < 0 &&
               says(RUNNER_E_NOTFOUND, "ct-absent") &&
               RUN(.kind = RUNNER_NETLINK, .flags = RUNNER_S_OPTIONAL, .path = "ct-absent", .data = &drop,
                   .len = sizeof drop) == 0 &&
               result.status == 1,
           "NETLINK: which may not be there");
    two[0].head.nlmsg_len = 8;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = two, .len = sizeof two) < 0 && says(RUNNER_E_INVALID, "message 1") &&
               RUN(.kind = RUNNER_NETLINK, .data = &ask, .len = sizeof ask - 4) < 0 &&
               says(RUNNER_E_INVALID, "message 1") &&
               RUN(.kind = RUNNER_NETLINK, .number = 99, .data = &ask, .len = sizeof ask) < 0 &&
               says(RUNNER_E_INVALID, "protocol 99"),
           "NETLINK: what is no message is not sent");
    ask.head.nlmsg_type = NFNL_MSG_BATCH_BEGIN;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .number = NETLINK_NETFILTER, .data = &ask, .len = sizeof ask) < 0 &&
               says(RUNNER_E_INVALID, "no end"),
           "NETLINK: a transaction has an end");
}

void check_port(void)
{
    struct runner_port port = {.size = sizeof port, .mac = "01:00:00:00:00:07", .address = "192.0.2.7"};
    const char *argv[] = {"bridge", "-d", "link", "show", "dev", "ct-port", NULL};
    const char *of_fdb[] = {"bridge", "fdb", "show", "dev", "ct-port", NULL};
    const char *of_neighbours[] = {"ip", "neigh", "show", "dev", "ct-port-br", NULL};
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (ioctl(fd, SIOCBRADDBR, "ct-port-br") < 0) {
        tap_ok(true, "TAP_ADD with a port # SKIP no bridges here");
        return;
    }
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-port", .to = "ct-port-br", .port = &port) < 0 &&
               says(RUNNER_E_INVALID, "'01:00:00:00:00:07' is no MAC"),
           "TAP_ADD: a MAC address of many is nobody's");
    port.mac = "02:00:00:00:00:07";
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_ISOLATED, .path = "ct-port", .to = "ct-port-br",
               .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = argv) == 0 && strstr(result.out, "learning off") != NULL &&
               strstr(result.out, " flood off") != NULL && strstr(result.out, "bcast_flood off") != NULL &&
               strstr(result.out, "isolated on") != NULL && strstr(result.out, "locked on") != NULL,
           "TAP_ADD with a port: it learns nothing, floods nothing, and is locked");
    tap_ok(RUN(.kind = RUNNER_RUN, .argv = of_fdb) == 0 && strstr(result.out, "02:00:00:00:00:07") != NULL &&
               strstr(result.out, "static") != NULL && RUN(.kind = RUNNER_RUN, .argv = of_neighbours) == 0 &&
               strstr(result.out, "192.0.2.7 lladdr 02:00:00:00:00:07 PERMANENT") != NULL,
           "TAP_ADD with a port: whose it is is known to the bridge and to the host");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-port", .to = "ct-port-br", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_neighbours) == 0 && strstr(result.out, "192.0.2.7") == NULL &&
               if_nametoindex("ct-port") == 0,
           "TAP_DEL: and forgotten, the name free at once");
    (void)ioctl(fd, SIOCBRDELBR, "ct-port-br");
}

/* Queues and namespaces that are open here. Sockets are not looked at: one comes and goes with the reaper's work. */
static size_t n_held(void)
{
    auto_dir DIR *d = opendir("/proc/self/fd");
    const struct dirent *e;
    char to[64];
    size_t n = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, to, sizeof to - 1);

        to[len < 0 ? 0 : len] = '\0';
        n += strcmp(to, "/dev/net/tun") == 0 || strncmp(to, "net:", 4) == 0;
    }
    return n;
}

/* Interfaces as numbers of the runner's own namespace know them: a veth has its other end elsewhere. */
void check_netns(void)
{
    static const char nonsense[32] = "no message";
    struct runner_netns netns = {.size = sizeof netns};
    const char *show[] = {"ip", "-d", "link", "show", "dev", "ct-ns", NULL};
    size_t before = n_held();
    struct ifreq request = {0};
    int fd;

    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_INVALID, "nobody can open it") &&
               RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD | RUNNER_S_IDLE, .path = "ct-ns", .netns = &netns) <
                   0 &&
               says(RUNNER_E_INVALID, "no idle one"),
           "TAP_ADD in a namespace: of a new TAP that is dialled");
    netns.routes = nonsense;
    netns.routes_len = sizeof nonsense;
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_INVALID, "tap 'ct-ns': routes in its namespace") && if_nametoindex("ct-ns") == 0 &&
               n_held() == before,
           "TAP_ADD in a namespace: a wrong message, and nothing is left");
    netns.routes = NULL;
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .to = "ct-nobridge", .netns = &netns) <
                   0 &&
               says(RUNNER_E_NOTFOUND, "ct-nobridge") && if_nametoindex("ct-ns") == 0 && n_held() == before,
           "TAP_ADD in a namespace: no bridge, and nothing is left");
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .number = 54321, .netns = &netns) ==
                   0 &&
               RUN(.kind = RUNNER_RUN, .argv = show) == 0 && strstr(result.out, "veth") != NULL &&
               strstr(result.out, "link-netnsid") != NULL && n_held() == before + 1,
           "TAP_ADD in a namespace: here there is a veth of its name, and its queue");
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_EXISTS, "ct-ns"),
           "TAP_ADD in a namespace: the name is taken");
    fd = dial("tap", "ct-ns");
    tap_ok(fd >= 0 && ioctl(fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, "ct-ns") == 0 &&
               (request.ifr_flags & IFF_TAP) != 0,
           "dial tap: in its namespace it has the same name");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-ns", .data = "ct-idle", .len = sizeof "ct-idle") == 0 &&
               if_nametoindex("ct-ns") == 0 && if_nametoindex("ct-idle") == 0,
           "TAP_DEL: a veth is not kept");
    cleanup_close(&fd);
    (void)RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns);
    fd = dial("tap", "ct-ns");
    cleanup_close(&fd);
    for (int i = 0; i < PATIENCE_MS / 10 && if_nametoindex("ct-ns") != 0; i++)
        poll(NULL, 0, 10);
    tap_ok(if_nametoindex("ct-ns") == 0, "a TAP in a namespace: with its last queue all is gone");
}

static void set_up(int fd, const char *name, bool is_up)
{
    struct ifreq request = {.ifr_flags = is_up ? IFF_UP : 0};

    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    (void)ioctl(fd, SIOCSIFFLAGS, &request);
}

/* The kernel's own limit. */
void check_full_bridge(void)
{
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct runner_port port = {
        .size = sizeof port, .mac = "02:00:00:00:00:07", .address = "192.0.2.7", .also = "ct-also", .is_routed = 1};
    const char *of_port[] = {"ip", "link", "show", "master", "ct-also", NULL};
    const char *of_host[] = {"sh", "-c", "ip neigh show 192.0.2.7 nud permanent; ip route show proto 114", NULL};
    char name[IFNAMSIZ];
    int n = 0;

    if (ioctl(fd, SIOCBRADDBR, "ct-full") < 0) {
        tap_ok(true, "TAP_ADD: a full bridge # SKIP no bridges here");
        return;
    }
    do
        (void)snprintf(name, sizeof name, "ct-full-%d", n++);
    while (n < 1100 && RUN(.kind = RUNNER_TAP_ADD, .path = name, .to = "ct-full") == 0);
    tap_ok(n == 1024 && says(RUNNER_E_NOSPACE, "bridge 'ct-full' is full: it has 1023 ports") &&
               if_nametoindex(name) == 0,
           "TAP_ADD: a full bridge: the %dth is refused, which says why, and is not there", n);
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-full-7") == 0 &&
               RUN(.kind = RUNNER_TAP_ADD, .path = name, .to = "ct-full") == 0,
           "TAP_ADD: there is room as soon as one has gone");
    (void)ioctl(fd, SIOCBRADDBR, "ct-also");
    set_up(fd, "ct-full", true);
    set_up(fd, "ct-also", true);
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-second", .to = "ct-full", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_port) == 0 && strstr(result.out, "ct-second") != NULL &&
               RUN(.kind = RUNNER_RUN, .argv = of_host) == 0 &&
               strncmp(result.out, "192.0.2.7 dev ct-also lladdr", 28) == 0 &&
               strstr(result.out, "192.0.2.7 dev ct-also scope link") != NULL &&
               strstr(result.out, "dev ct-full") == NULL,
           "TAP_ADD: a full bridge: the other one, and the host sends what is for its guest there");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-second", .to = "ct-full", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_host) == 0 && result.len == 0 && if_nametoindex("ct-second") == 0,
           "TAP_DEL: and no more, whichever bridge it was put on");
    set_up(fd, "ct-also", false);
    set_up(fd, "ct-full", false);
    (void)ioctl(fd, SIOCBRDELBR, "ct-also");
    while (n-- > 0) {
        (void)snprintf(name, sizeof name, "ct-full-%d", n);
        (void)RUN(.kind = RUNNER_TAP_DEL, .path = name);
    }
    (void)ioctl(fd, SIOCBRDELBR, "ct-full");
}
