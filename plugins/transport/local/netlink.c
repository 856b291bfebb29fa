#include "plugins/transport/local/netlink.h"

#include <assert.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "include/runner-plugin.h"

int netlink_open(struct netlink *n)
{
    *n = (struct netlink){.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
    return n->fd < 0 ? -errno : 0;
}

void netlink_close(struct netlink *n)
{
    cleanup_close(&n->fd);
}

/* ---- requests ---- */

/* Requests are built of a handful of attributes: all that go together fit by far. */
static void *add_bytes(struct netlink *n, size_t len)
{
    void *at = n->bytes + n->len;

    assert(n->len + NLMSG_ALIGN(len) <= sizeof n->bytes);
    memset(at, 0, NLMSG_ALIGN(len));
    n->len += NLMSG_ALIGN(len);
    return at;
}

static struct nlmsghdr *begin(struct netlink *n, const char *what, uint16_t type, uint16_t flags, size_t size)
{
    struct nlmsghdr *head = add_bytes(n, NLMSG_LENGTH(size));

    assert(n->n < NETLINK_REQUESTS);
    n->last = (size_t)((char *)head - n->bytes);
    n->what[n->n++] = what;
    *head = (struct nlmsghdr){.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = n->n};
    return head;
}

static void end(struct netlink *n, struct nlmsghdr *head)
{
    head->nlmsg_len = (uint32_t)(n->bytes + n->len - (char *)head);
}

static struct rtattr *add_attr(struct netlink *n, unsigned short type, const void *data, size_t len)
{
    struct rtattr *attr = add_bytes(n, RTA_LENGTH(len));

    attr->rta_type = type;
    attr->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(attr), data, len);
    return attr;
}

/* What was added since it is in it. */
static void end_nest(const struct netlink *n, struct rtattr *nest)
{
    nest->rta_len = (unsigned short)(n->bytes + n->len - (const char *)nest);
}

static struct nlmsghdr *begin_link(struct netlink *n, const char *what, uint16_t type, unsigned char family, int index)
{
    struct nlmsghdr *head = begin(n, what, type, 0, sizeof(struct ifinfomsg));
    struct ifinfomsg *info = NLMSG_DATA(head);

    info->ifi_family = family;
    info->ifi_index = index;
    return head;
}

/* ---- answers ---- */

static int send_all(struct netlink *n)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    const size_t len = n->len;
    ssize_t sent;

    n->len = n->n = 0;
    sent = sendto(n->fd, n->bytes, len, 0, (struct sockaddr *)&kernel, sizeof kernel);
    if (sent < 0)
        return -errno;
    return sent == (ssize_t)len ? 0 : -EPROTO;
}

/* One message, which is left in n: the kernel answers within sendto(), so that nothing is waited for. ret_error: what it
 * says of the request of that number, or 0. */
static int take(struct netlink *n, unsigned *ret_number, int *ret_error)
{
    const struct nlmsghdr *head = (const struct nlmsghdr *)n->bytes;
    ssize_t got;

    do
        got = recv(n->fd, n->bytes, sizeof n->bytes, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? -EPROTO : -errno;
    if (!NLMSG_OK(head, (size_t)got))
        return -EPROTO;
    *ret_number = head->nlmsg_seq;
    *ret_error = head->nlmsg_type == NLMSG_ERROR ? ((const struct nlmsgerr *)NLMSG_DATA(head))->error : 0;
    return 0;
}

/* The last is acknowledged; one before it is spoken of only when it fails. */
int netlink_send(struct netlink *n, const char **ret_what)
{
    const unsigned last = n->n;
    unsigned number = 0, failed = 0;
    int status = 0, first = 0, error;

    if (last > 0) {
        ((struct nlmsghdr *)(n->bytes + n->last))->nlmsg_flags |= NLM_F_ACK;
        status = send_all(n);
    }
    while (status == 0 && number < last) {
        status = take(n, &number, &error);
        if (status < 0 || error == 0 || failed != 0)
            continue;
        failed = number;
        first = error;
    }
    if (ret_what != NULL)
        *ret_what = failed >= 1 && failed <= last ? n->what[failed - 1] : "netlink";
    return status < 0 ? status : first;
}

static int ask_interface(const struct netlink *n, unsigned long request, const char *name, struct ifreq *ret)
{
    *ret = (struct ifreq){.ifr_ifindex = 0};
    memcpy(ret->ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    return ioctl(n->fd, request, ret) < 0 ? -errno : 0;
}

int netlink_index(const struct netlink *n, const char *name)
{
    struct ifreq about;
    int r = ask_interface(n, SIOCGIFINDEX, name, &about);

    return r < 0 ? r : about.ifr_ifindex;
}

int netlink_flags(const struct netlink *n, const char *name, unsigned *ret)
{
    struct ifreq about;
    int r = ask_interface(n, SIOCGIFFLAGS, name, &about);

    *ret = (unsigned short)about.ifr_flags;
    return r;
}

bool netlink_has_mac(const struct netlink *n, const char *name, const uint8_t mac[MAC_BYTES])
{
    struct ifreq about;

    return ask_interface(n, SIOCGIFHWADDR, name, &about) == 0 && memcmp(about.ifr_hwaddr.sa_data, mac, MAC_BYTES) == 0;
}

bool netlink_is_tun(const struct netlink *n, const char *name)
{
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq about = {.ifr_data = (void *)&driver};

    memcpy(about.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    return ioctl(n->fd, SIOCETHTOOL, &about) == 0 && strcmp(driver.driver, "tun") == 0;
}

/* ---- links ---- */

void netlink_change(struct netlink *n, const struct link_change *change)
{
    struct nlmsghdr *head = begin_link(n, "its bridge", RTM_SETLINK, AF_UNSPEC, change->index);
    struct ifinfomsg *info = NLMSG_DATA(head);
    const uint32_t master = (uint32_t)change->master, group = (uint32_t)change->group;

    if (change->up >= 0) {
        info->ifi_change = IFF_UP;
        info->ifi_flags = change->up ? IFF_UP : 0;
    }
    if (change->mac != NULL)
        add_attr(n, IFLA_ADDRESS, change->mac, MAC_BYTES);
    if (change->rename != NULL)
        add_attr(n, IFLA_IFNAME, change->rename, strlen(change->rename) + 1);
    if (change->master >= 0)
        add_attr(n, IFLA_MASTER, &master, sizeof master);
    if (change->group >= 0)
        add_attr(n, IFLA_GROUP, &group, sizeof group);
    end(n, head);
}

void netlink_port(struct netlink *n, int index, bool is_isolated, bool is_bound)
{
    const struct {
        unsigned short type;
        bool is_bound;
        uint8_t value;
    } flags[] = {
        {IFLA_BRPORT_ISOLATED, false, is_isolated},
        {IFLA_BRPORT_LOCKED, true, 1},
        {IFLA_BRPORT_LEARNING, true, 0},
        {IFLA_BRPORT_UNICAST_FLOOD, true, 0},
        {IFLA_BRPORT_MCAST_FLOOD, true, !is_isolated},
        {IFLA_BRPORT_BCAST_FLOOD, true, !is_isolated},
    };
    struct nlmsghdr *head = begin_link(n, "flags of its port", RTM_SETLINK, AF_BRIDGE, index);
    struct rtattr *nest = add_attr(n, IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);

    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (is_bound || !flags[i].is_bound)
            add_attr(n, flags[i].type, &flags[i].value, sizeof flags[i].value);
    end_nest(n, nest);
    end(n, head);
}

void netlink_delete(struct netlink *n, int index)
{
    end(n, begin_link(n, "its removal", RTM_DELLINK, AF_UNSPEC, index));
}

void netlink_delete_group(struct netlink *n, uint32_t group)
{
    struct nlmsghdr *head = begin_link(n, "removal of a group", RTM_DELLINK, AF_UNSPEC, 0);

    add_attr(n, IFLA_GROUP, &group, sizeof group);
    end(n, head);
}

/* One queue each way, which are of no use to it: else the kernel makes some for each processor. */
static void add_one_queue(struct netlink *n)
{
    const uint32_t one = 1;

    add_attr(n, IFLA_NUM_TX_QUEUES, &one, sizeof one);
    add_attr(n, IFLA_NUM_RX_QUEUES, &one, sizeof one);
}

void netlink_veth(struct netlink *n, const char *name, int number, const char *other, int other_netns)
{
    const struct ifinfomsg about = {.ifi_family = AF_UNSPEC};
    struct nlmsghdr *head = begin_link(n, "a veth", RTM_NEWLINK, AF_UNSPEC, number);
    struct rtattr *info, *data, *peer;

    head->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
    add_attr(n, IFLA_IFNAME, name, strlen(name) + 1);
    add_one_queue(n);
    info = add_attr(n, IFLA_LINKINFO | NLA_F_NESTED, NULL, 0);
    add_attr(n, IFLA_INFO_KIND, "veth", sizeof "veth");
    data = add_attr(n, IFLA_INFO_DATA | NLA_F_NESTED, NULL, 0);
    peer = add_attr(n, VETH_INFO_PEER | NLA_F_NESTED, &about, sizeof about);
    add_attr(n, IFLA_IFNAME, other, strlen(other) + 1);
    add_one_queue(n);
    add_attr(n, IFLA_NET_NS_FD, &other_netns, sizeof other_netns);
    end_nest(n, peer);
    end_nest(n, data);
    end_nest(n, info);
    end(n, head);
}

/* ---- neighbours ---- */

static struct nlmsghdr *begin_neighbour(struct netlink *n, const char *what, bool is_new, unsigned char family,
                                        int index, struct ndmsg **ret_about)
{
    struct nlmsghdr *head = begin(n, what, is_new ? RTM_NEWNEIGH : RTM_DELNEIGH,
                                  is_new ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof **ret_about);

    *ret_about = NLMSG_DATA(head);
    (*ret_about)->ndm_family = family;
    (*ret_about)->ndm_ifindex = index;
    return head;
}

void netlink_forward(struct netlink *n, int index, const uint8_t mac[MAC_BYTES], bool is_for)
{
    struct ndmsg *about;
    struct nlmsghdr *head = begin_neighbour(n, "its guest's MAC address", is_for, AF_BRIDGE, index, &about);

    about->ndm_flags = NTF_MASTER;
    about->ndm_state = NUD_NOARP; /* bridge(8) calls it static */
    add_attr(n, NDA_LLADDR, mac, MAC_BYTES);
    end(n, head);
}

void netlink_neighbour(struct netlink *n, int bridge, struct in_addr address, const uint8_t *mac)
{
    struct ndmsg *about;
    struct nlmsghdr *head = begin_neighbour(n, "whose its guest's address is", mac != NULL, AF_INET, bridge, &about);

    about->ndm_state = NUD_PERMANENT;
    add_attr(n, NDA_DST, &address, sizeof address);
    if (mac != NULL)
        add_attr(n, NDA_LLADDR, mac, MAC_BYTES);
    end(n, head);
}

void netlink_route(struct netlink *n, int bridge, struct in_addr address, bool is_there)
{
    struct nlmsghdr *head = begin(n, "the way to its guest's address", is_there ? RTM_NEWROUTE : RTM_DELROUTE,
                                  is_there ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(struct rtmsg));

    *(struct rtmsg *)NLMSG_DATA(head) = (struct rtmsg){.rtm_family = AF_INET,
                                                       .rtm_dst_len = 32,
                                                       .rtm_table = RT_TABLE_MAIN,
                                                       .rtm_protocol = RUNNER_ROUTE_PROTOCOL,
                                                       .rtm_scope = RT_SCOPE_LINK,
                                                       .rtm_type = RTN_UNICAST};
    add_attr(n, RTA_DST, &address, sizeof address);
    add_attr(n, RTA_OIF, &bridge, sizeof bridge);
    end(n, head);
}

/* ---- what a link is ---- */

static const struct rtattr *find_attr(const struct rtattr *attr, int len, unsigned short type)
{
    for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len))
        if ((attr->rta_type & NLA_TYPE_MASK) == type)
            return attr;
    return NULL;
}

static const struct rtattr *find_nested(const struct rtattr *outer, unsigned short type)
{
    return outer != NULL ? find_attr(RTA_DATA(outer), (int)RTA_PAYLOAD(outer), type) : NULL;
}

static bool is_kind(const struct rtattr *info, const char *name)
{
    const struct rtattr *kind = find_nested(info, IFLA_INFO_KIND);
    size_t size = strlen(name) + 1;

    return kind != NULL && RTA_PAYLOAD(kind) == size && memcmp(RTA_DATA(kind), name, size) == 0;
}

int netlink_look(struct netlink *n, int index, struct link_state *ret)
{
    const struct nlmsghdr *head = (const struct nlmsghdr *)n->bytes;
    const struct rtattr *all, *info, *data, *type, *carrier, *master;
    const uint32_t mask = RTEXT_FILTER_SKIP_STATS; /* which take more time than all else */
    struct nlmsghdr *request = begin_link(n, "it", RTM_GETLINK, AF_UNSPEC, index);
    unsigned number;
    int r, error = 0;

    add_attr(n, IFLA_EXT_MASK, &mask, sizeof mask);
    end(n, request);
    r = send_all(n);
    if (r == 0)
        r = take(n, &number, &error);
    if (r < 0 || error < 0)
        return r < 0 ? r : error;
    if (head->nlmsg_type != RTM_NEWLINK)
        return -EPROTO;
    all = IFLA_RTA(NLMSG_DATA(head));
    info = find_attr(all, (int)IFLA_PAYLOAD(head), IFLA_LINKINFO);
    carrier = find_attr(all, (int)IFLA_PAYLOAD(head), IFLA_CARRIER);
    master = find_attr(all, (int)IFLA_PAYLOAD(head), IFLA_MASTER);
    data = find_nested(info, IFLA_INFO_DATA);
    type = find_nested(data, IFLA_TUN_TYPE);
    ret->is_tap = is_kind(info, "tun") && type != NULL && *(const uint8_t *)RTA_DATA(type) == IFF_TAP;
    ret->is_other = is_kind(info, "veth") || is_kind(info, "ifb");
    ret->bridge = master != NULL ? *(const int *)RTA_DATA(master) : 0;
    ret->has_group = find_nested(data, IFLA_TUN_GROUP) != NULL;
    ret->is_open = carrier == NULL || *(const uint8_t *)RTA_DATA(carrier) != 0;
    return 0;
}
