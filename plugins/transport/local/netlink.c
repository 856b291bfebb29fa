#include "plugins/transport/local/netlink.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/cleanup.h"

struct message { /* one request, and room for its answer */
    union {
        struct nlmsghdr head;
        char bytes[8192]; /* NLMSG_GOODSIZE: no answer about one link is larger without IFLA_EXT_MASK */
    };
};

static void message_init(struct message *m, uint16_t type, uint16_t flags, unsigned char family, int index)
{
    struct ifinfomsg *info;

    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_LENGTH(sizeof *info);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = NLM_F_REQUEST | flags;
    info = NLMSG_DATA(&m->head);
    info->ifi_family = family;
    info->ifi_index = index;
}

/* Requests are built of a handful of attributes: they fit by far. */
static struct rtattr *add_attr(struct message *m, unsigned short type, const void *data, size_t len)
{
    struct rtattr *attr = (struct rtattr *)(m->bytes + NLMSG_ALIGN(m->head.nlmsg_len));

    attr->rta_type = type;
    attr->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(attr), data, len);
    m->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m->head.nlmsg_len) + RTA_ALIGN(attr->rta_len));
    return attr;
}

/* What was added since it is in it. */
static void end_nest(const struct message *m, struct rtattr *nest)
{
    nest->rta_len = (unsigned short)(m->bytes + m->head.nlmsg_len - (const char *)nest);
}

/* Sends and takes the one answer: an acknowledgement, or a message that is left in m. */
static int exchange(struct message *m)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t n;

    if (fd < 0)
        return -errno;
    if (sendto(fd, m, m->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -errno;
    do
        n = recv(fd, m, sizeof *m, 0); /* the kernel answers within sendto(): this does not wait */
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (!NLMSG_OK(&m->head, (size_t)n))
        return -EPROTO;
    if (m->head.nlmsg_type == NLMSG_ERROR)
        return ((struct nlmsgerr *)NLMSG_DATA(&m->head))->error;
    return 0;
}

int netlink_change(const struct link_change *change)
{
    struct message m;
    struct ifinfomsg *info = NLMSG_DATA(&m.head);
    uint32_t master = (uint32_t)change->master;

    message_init(&m, RTM_SETLINK, NLM_F_ACK, AF_UNSPEC, change->index);
    if (change->up >= 0) {
        info->ifi_change = IFF_UP;
        info->ifi_flags = change->up ? IFF_UP : 0;
    }
    if (change->rename != NULL)
        add_attr(&m, IFLA_IFNAME, change->rename, strlen(change->rename) + 1);
    if (change->master >= 0)
        add_attr(&m, IFLA_MASTER, &master, sizeof master);
    if (change->group != 0)
        add_attr(&m, IFLA_GROUP, &change->group, sizeof change->group);
    return exchange(&m);
}

int netlink_port(int index, bool is_isolated, bool is_bound)
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
    struct message m;
    struct rtattr *nest;

    message_init(&m, RTM_SETLINK, NLM_F_ACK, AF_BRIDGE, index);
    nest = add_attr(&m, IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (is_bound || !flags[i].is_bound)
            add_attr(&m, flags[i].type, &flags[i].value, sizeof flags[i].value);
    end_nest(&m, nest);
    return exchange(&m);
}

static struct ndmsg *neighbour_init(struct message *m, uint16_t type, uint16_t flags, unsigned char family, int index)
{
    struct ndmsg *about = NLMSG_DATA(&m->head);

    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_LENGTH(sizeof *about);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    about->ndm_family = family;
    about->ndm_ifindex = index;
    return about;
}

int netlink_forward_to(int index, const uint8_t mac[MAC_BYTES])
{
    struct message m;
    struct ndmsg *about = neighbour_init(&m, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, AF_BRIDGE, index);

    about->ndm_flags = NTF_MASTER;
    about->ndm_state = NUD_NOARP; /* bridge(8) calls it static */
    add_attr(&m, NDA_LLADDR, mac, MAC_BYTES);
    return exchange(&m);
}

int netlink_neighbour(int bridge, struct in_addr address, const uint8_t *mac)
{
    bool is_new = mac != NULL;
    struct message m;
    struct ndmsg *about = neighbour_init(&m, is_new ? RTM_NEWNEIGH : RTM_DELNEIGH,
                                         is_new ? NLM_F_CREATE | NLM_F_REPLACE : 0, AF_INET, bridge);

    about->ndm_state = NUD_PERMANENT;
    add_attr(&m, NDA_DST, &address, sizeof address);
    if (is_new)
        add_attr(&m, NDA_LLADDR, mac, MAC_BYTES);
    return exchange(&m);
}

int netlink_delete(int index)
{
    struct message m;

    message_init(&m, RTM_DELLINK, NLM_F_ACK, AF_UNSPEC, index);
    return exchange(&m);
}

int netlink_delete_group(uint32_t group)
{
    struct message m;

    message_init(&m, RTM_DELLINK, NLM_F_ACK, AF_UNSPEC, 0);
    add_attr(&m, IFLA_GROUP, &group, sizeof group);
    return exchange(&m);
}

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

/* What the link is, of a link's description. */
static const struct rtattr *link_info(const struct message *m)
{
    return find_attr(IFLA_RTA(NLMSG_DATA(&m->head)), (int)IFLA_PAYLOAD(&m->head), IFLA_LINKINFO);
}

static bool is_kind(const struct rtattr *info, const char *name)
{
    const struct rtattr *kind = find_nested(info, IFLA_INFO_KIND);
    size_t size = strlen(name) + 1;

    return kind != NULL && RTA_PAYLOAD(kind) == size && memcmp(RTA_DATA(kind), name, size) == 0;
}

static int get_link(struct message *m, int index)
{
    message_init(m, RTM_GETLINK, 0, AF_UNSPEC, index);
    return exchange(m);
}

int netlink_is_tap(int index)
{
    struct message m;
    const struct rtattr *info, *type;
    int r = get_link(&m, index);

    if (r < 0)
        return r;
    info = link_info(&m);
    type = find_nested(find_nested(info, IFLA_INFO_DATA), IFLA_TUN_TYPE);
    return is_kind(info, "tun") && type != NULL && *(const uint8_t *)RTA_DATA(type) == IFF_TAP;
}

int netlink_is_kind(int index, const char *kind)
{
    struct message m;
    int r = get_link(&m, index);

    return r < 0 ? r : is_kind(link_info(&m), kind);
}

/* One queue each way, which are of no use to it: else the kernel makes some for each processor. */
static void add_one_queue(struct message *m)
{
    const uint32_t one = 1;

    add_attr(m, IFLA_NUM_TX_QUEUES, &one, sizeof one);
    add_attr(m, IFLA_NUM_RX_QUEUES, &one, sizeof one);
}

int netlink_veth(const char *name, int number, const char *other, int other_netns)
{
    const struct ifinfomsg about = {.ifi_family = AF_UNSPEC};
    struct rtattr *info, *data, *peer;
    struct message m;

    message_init(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, AF_UNSPEC, number);
    add_attr(&m, IFLA_IFNAME, name, strlen(name) + 1);
    add_one_queue(&m);
    info = add_attr(&m, IFLA_LINKINFO | NLA_F_NESTED, NULL, 0);
    add_attr(&m, IFLA_INFO_KIND, "veth", sizeof "veth");
    data = add_attr(&m, IFLA_INFO_DATA | NLA_F_NESTED, NULL, 0);
    peer = add_attr(&m, VETH_INFO_PEER | NLA_F_NESTED, &about, sizeof about);
    add_attr(&m, IFLA_IFNAME, other, strlen(other) + 1);
    add_one_queue(&m);
    add_attr(&m, IFLA_NET_NS_FD, &other_netns, sizeof other_netns);
    end_nest(&m, peer);
    end_nest(&m, data);
    end_nest(&m, info);
    return exchange(&m);
}
