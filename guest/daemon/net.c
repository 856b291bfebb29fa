#include "guest/daemon/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DISCARD 9 /* the port whose service drops what it gets */

static int set_flags(int fd, struct ifreq *ifr, short flags, struct runner_error *err)
{
    if (ioctl(fd, SIOCGIFFLAGS, ifr) < 0)
        return fail_errno(err, errno, "flags of %s", ifr->ifr_name);
    ifr->ifr_flags |= flags;
    if (ioctl(fd, SIOCSIFFLAGS, ifr) < 0)
        return fail_errno(err, errno, "bring %s up", ifr->ifr_name);
    return 0;
}

int net_loopback(struct runner_error *err)
{
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = {.ifr_name = "lo"};

    return fd < 0 ? fail_errno(err, errno, "socket") : set_flags(fd, &ifr, IFF_UP, err);
}

static bool is_wanted(int fd, const char *name, const struct seed_network *n, struct ifreq *ret)
{
    struct ifreq ifr = {.ifr_name = ""};

    (void)memccpy(ifr.ifr_name, name, '\0', sizeof ifr.ifr_name);
    ifr.ifr_name[sizeof ifr.ifr_name - 1] = '\0';
    if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0 || (ifr.ifr_flags & IFF_LOOPBACK) != 0)
        return false;
    if (n->has_mac && (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0 || memcmp(ifr.ifr_hwaddr.sa_data, n->mac, 6) != 0))
        return false;
    *ret = ifr;
    return true;
}

static bool find_wanted(int fd, const struct seed_network *n, struct ifreq *ret)
{
    struct if_nameindex *list = if_nameindex();
    bool is_found = false;

    for (const struct if_nameindex *i = list; i != NULL && i->if_index != 0 && !is_found; i++)
        is_found = is_wanted(fd, i->if_name, n, ret);
    if (list != NULL)
        if_freenameindex(list);
    return is_found;
}

/* A device of another address is better than none: a VMM may not take the address that it is told. */
static int find_interface(int fd, const struct seed_network *n, struct ifreq *ret, struct runner_error *err)
{
    struct seed_network any = {.has_mac = false};

    if (find_wanted(fd, n, ret) || find_wanted(fd, &any, ret))
        return 0;
    return fail(err, RUNNER_E_NOTFOUND, 0, "no network device");
}

static void set_address(struct sockaddr *sa, uint32_t address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};

    memcpy(sa, &in, sizeof in);
}

static uint32_t netmask(unsigned prefix)
{
    return htonl(prefix == 0 ? 0 : ~0u << (32 - prefix));
}

static int add_route(int fd, char *device, uint32_t to, uint32_t mask, uint32_t gateway, struct runner_error *err)
{
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = device};

    if (gateway != 0)
        route.rt_flags |= RTF_GATEWAY;
    if (mask == UINT32_MAX)
        route.rt_flags |= RTF_HOST;
    set_address(&route.rt_dst, to);
    set_address(&route.rt_genmask, mask);
    set_address(&route.rt_gateway, gateway);
    if (ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "add a route on %s", device);
    return 0;
}

int net_configure(const struct seed_network *n, struct runner_error *err)
{
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint32_t mask = netmask(n->prefix);
    struct ifreq ifr;

    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (find_interface(fd, n, &ifr, err) < 0)
        return -1;
    set_address(&ifr.ifr_addr, n->address);
    if (ioctl(fd, SIOCSIFADDR, &ifr) < 0)
        return fail_errno(err, errno, "address of %s", ifr.ifr_name);
    set_address(&ifr.ifr_netmask, mask);
    if (ioctl(fd, SIOCSIFNETMASK, &ifr) < 0)
        return fail_errno(err, errno, "netmask of %s", ifr.ifr_name);
    if (set_flags(fd, &ifr, IFF_UP, err) < 0)
        return -1;
    if (n->gateway == 0)
        return 0;
    /* A gateway outside the subnet (a /32 address) is reached directly. */
    if (((n->gateway ^ n->address) & mask) != 0 && add_route(fd, ifr.ifr_name, n->gateway, UINT32_MAX, 0, err) < 0)
        return -1;
    return add_route(fd, ifr.ifr_name, 0, 0, n->gateway, err);
}

void net_greet(const struct seed_network *n)
{
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr.s_addr = n->address};
    struct sockaddr_in gateway = {.sin_family = AF_INET, .sin_addr.s_addr = n->gateway, .sin_port = htons(DISCARD)};

    if (!n->is_set || n->gateway == 0 || fd < 0)
        return;
    /* Where the seed's address is not this machine's, nothing is sent. */
    if (bind(fd, (struct sockaddr *)&self, sizeof self) == 0)
        (void)sendto(fd, "", 0, MSG_DONTWAIT, (struct sockaddr *)&gateway, sizeof gateway);
}

void net_hosts_text(const struct seed *s, struct str *out)
{
    const char *dot = strchr(s->hostname, '.');

    str_add(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 ");
    str_add(out, s->hostname);
    if (dot != NULL) {
        str_add_char(out, ' ');
        str_add_mem(out, s->hostname, (size_t)(dot - s->hostname));
    }
    str_add_char(out, '\n');
}

void net_resolv_text(const struct seed_network *n, struct str *out)
{
    char text[INET_ADDRSTRLEN];

    for (size_t i = 0; i < n->n_dns; i++)
        if (inet_ntop(AF_INET, &n->dns[i], text, sizeof text) != NULL)
            str_addf(out, "nameserver %s\n", text);
}

/* A symbolic link in the way (systemd-resolved's) is replaced. */
static int write_file(const char *path, const char *text, struct runner_error *err)
{
    auto_close int fd = -1;
    size_t len = strlen(text);

    (void)mkdir("/etc", 0755);
    (void)unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        return fail_errno(err, errno, "write '%s'", path);
    return 0;
}

int net_name(const struct seed *s, struct runner_error *err)
{
    auto_str struct str hosts = STR_INIT, resolv = STR_INIT, hostname = STR_INIT;

    if (sethostname(s->hostname, strlen(s->hostname)) < 0)
        return fail_errno(err, errno, "set the host name");
    str_addf(&hostname, "%s\n", s->hostname);
    net_hosts_text(s, &hosts);
    net_resolv_text(&s->network, &resolv);
    if (write_file("/etc/hostname", str_text(&hostname), err) < 0 ||
        write_file("/etc/hosts", str_text(&hosts), err) < 0)
        return -1;
    return s->network.n_dns == 0 ? 0 : write_file("/etc/resolv.conf", str_text(&resolv), err);
}
