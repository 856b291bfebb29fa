#include "plugins/network/bridge/netns.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 512
#define NIC_WHOLE   (offsetof(struct runner_nic, guest_gateway) + sizeof((struct runner_nic *)NULL)->guest_gateway)

bool netns_has(const struct runner_nic *nic)
{
    return nic->size >= NIC_WHOLE && nic->guest_address[0] != '\0';
}

/* An image's network is set up once, at the first boot: what changes is for the next sandboxes. */
bool netns_wants(const struct bridge *b, const struct runner_nic *nic)
{
    return netns_has(nic) || (b->has_netns && nic->kind == 0); /* which it is before its first attach */
}

/* As good as any that nobody else has on that wire, and the same on every host with the same settings. */
static void mac_of(uint32_t address, uint8_t ret[6])
{
    ret[0] = 2;
    ret[1] = 0;
    memcpy(ret + 2, &address, sizeof address);
}

void netns_fill(const struct bridge *b, struct runner_nic *nic)
{
    struct in_addr address;
    uint8_t mac[6];

    if (nic->size < NIC_WHOLE || nic->guest_address[0] != '\0')
        return;
    (void)inet_pton(AF_INET, b->guest_gateway, &address); /* create() has looked at it */
    (void)snprintf(nic->guest_gateway, sizeof nic->guest_gateway, "%s", b->guest_gateway);
    address.s_addr = htonl(ntohl(address.s_addr) + 1);
    (void)inet_ntop(AF_INET, &address, nic->guest_address, sizeof nic->guest_address);
    nic->guest_prefix_len = b->guest_prefix_len;
    mac_of(address.s_addr, mac);
    (void)snprintf(nic->guest_mac, sizeof nic->guest_mac, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                   mac[3], mac[4], mac[5]);
}

static int read_nic(const struct bridge *b, const struct runner_nic *nic, struct netns *ret, struct runner_error *err)
{
    struct ether_addr guest_mac, bridge_mac;
    struct guest outside;

    *ret = (struct netns){.has_gateway_mac = b->has_mac};
    if (nic->size < NIC_WHOLE)
        return fail(err, RUNNER_E_NOTSUP, 0, "network/bridge: netns needs a newer runner");
    if (!RUNNER_HAS(nic, is_dialled))
        return fail(err, RUNNER_E_NOTSUP, 0, "network/bridge: netns needs a VMM that takes its TAP as a descriptor");
    if (plan_guest(nic, nic->name, &outside, err) < 0)
        return -1;
    if (strlen(nic->guest_mac) != 17 || ether_aton_r(nic->guest_mac, &guest_mac) == NULL ||
        (guest_mac.ether_addr_octet[0] & 1))
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is no MAC address of a machine", nic->guest_mac);
    if (inet_pton(AF_INET, nic->guest_address, &ret->guest_address) != 1 ||
        inet_pton(AF_INET, nic->guest_gateway, &ret->guest_gateway) != 1 || ret->guest_address == ret->guest_gateway ||
        inet_pton(AF_INET, b->address, &ret->gateway) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' behind '%s' is no guest's address",
                    nic->guest_address, nic->guest_gateway);
    ret->address = outside.address;
    memcpy(ret->mac, outside.mac, sizeof ret->mac);
    memcpy(ret->guest_mac, guest_mac.ether_addr_octet, sizeof ret->guest_mac);
    mac_of(ret->guest_gateway, ret->guest_gateway_mac);
    if (ether_aton_r(b->mac, &bridge_mac) != NULL)
        memcpy(ret->gateway_mac, bridge_mac.ether_addr_octet, sizeof ret->gateway_mac);
    return 0;
}

/* ---- messages of rtnetlink ---- */

static void *message(char buffer[MESSAGE_MAX], uint16_t type, uint16_t flags, size_t len)
{
    struct nlmsghdr *head;

    memset(buffer, 0, MESSAGE_MAX);
    head = mnl_nlmsg_put_header(buffer);
    head->nlmsg_type = type;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    return mnl_nlmsg_put_extra_header(head, len);
}

static void keep(struct str *to, const char buffer[MESSAGE_MAX])
{
    str_add_mem(to, buffer, MNL_ALIGN(((const struct nlmsghdr *)buffer)->nlmsg_len));
}

/* Up, with this MAC address. What comes in there is forwarded: by this interface's own setting, as on the host. */
static void set_link(struct str *to, int number, const uint8_t mac[6])
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = (struct nlmsghdr *)buffer;
    struct ifinfomsg *about = message(buffer, RTM_NEWLINK, 0, sizeof *about);
    struct nlattr *spec, *family, *settings;

    *about =
        (struct ifinfomsg){.ifi_family = AF_UNSPEC, .ifi_index = number, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    mnl_attr_put(head, IFLA_ADDRESS, 6, mac);
    spec = mnl_attr_nest_start(head, IFLA_AF_SPEC);
    family = mnl_attr_nest_start(head, AF_INET);
    settings = mnl_attr_nest_start(head, IFLA_INET_CONF);
    mnl_attr_put_u32(head, IPV4_DEVCONF_FORWARDING, 1);
    mnl_attr_nest_end(head, settings);
    mnl_attr_nest_end(head, family);
    mnl_attr_nest_end(head, spec);
    keep(to, buffer);
}

/* Of one other machine at most: so there is nobody whom a guest could make the kernel ask for, in a table that is small and
 * all namespaces'. */
static void add_address(struct str *to, int number, uint32_t address, uint32_t other)
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = (struct nlmsghdr *)buffer;
    struct ifaddrmsg *about = message(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *about);

    *about = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = (uint32_t)number};
    mnl_attr_put_u32(head, IFA_LOCAL, address);
    mnl_attr_put_u32(head, IFA_ADDRESS, other);
    keep(to, buffer);
}

/* by 0: it is on the wire itself. */
static void add_route(struct str *to, int number, uint32_t address, uint8_t prefix_len, uint32_t by)
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = (struct nlmsghdr *)buffer;
    struct rtmsg *about = message(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *about);

    *about = (struct rtmsg){.rtm_family = AF_INET,
                            .rtm_dst_len = prefix_len,
                            .rtm_table = RT_TABLE_MAIN,
                            .rtm_protocol = RTPROT_STATIC,
                            .rtm_scope = by == 0 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                            .rtm_type = RTN_UNICAST};
    if (prefix_len > 0)
        mnl_attr_put_u32(head, RTA_DST, address);
    if (by != 0)
        mnl_attr_put_u32(head, RTA_GATEWAY, by);
    mnl_attr_put_u32(head, RTA_OIF, (uint32_t)number);
    keep(to, buffer);
}

static void add_neighbour(struct str *to, int number, uint32_t address, const uint8_t mac[6])
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = (struct nlmsghdr *)buffer;
    struct ndmsg *about = message(buffer, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof *about);

    *about = (struct ndmsg){.ndm_family = AF_INET, .ndm_ifindex = number, .ndm_state = NUD_PERMANENT};
    mnl_attr_put_u32(head, NDA_DST, address);
    mnl_attr_put(head, NDA_LLADDR, 6, mac);
    keep(to, buffer);
}

static void add_routes(const struct netns *n, struct str *ret)
{
    set_link(ret, RUNNER_NETNS_VETH, n->mac);
    set_link(ret, RUNNER_NETNS_TAP, n->guest_gateway_mac);
    add_address(ret, RUNNER_NETNS_VETH, n->address, n->address);
    add_address(ret, RUNNER_NETNS_TAP, n->guest_gateway, n->guest_address);
    add_neighbour(ret, RUNNER_NETNS_TAP, n->guest_address, n->guest_mac);
    add_route(ret, RUNNER_NETNS_VETH, n->gateway, 32, 0);
    add_route(ret, RUNNER_NETNS_VETH, 0, 0, n->gateway);
    if (n->has_gateway_mac)
        add_neighbour(ret, RUNNER_NETNS_VETH, n->gateway, n->gateway_mac);
}

int netns_messages(const struct bridge *b, const struct runner_nic *nic, struct str *rules, struct str *routes,
                   struct runner_netns *ret, struct runner_error *err)
{
    struct netns n;

    if (read_nic(b, nic, &n, err) < 0)
        return -1;
    netns_rules(&n, rules);
    add_routes(&n, routes);
    *ret = (struct runner_netns){.size = sizeof *ret,
                                 .rules = rules->ptr,
                                 .rules_len = rules->len,
                                 .routes = routes->ptr,
                                 .routes_len = routes->len};
    return 0;
}

/* ---- whether it can be ------------------------------------------------------------------------------------------ */

int netns_try(const struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    struct runner_nic nic = {.size = sizeof nic, .mac = "02:72:00:00:00:01", .address = "192.0.2.2", .is_dialled = 1};
    auto_free char *name = mem_printf("tapd-n%ld", (long)getpid() % 10000000); /* what is left of it is swept */
    auto_str struct str rules = STR_INIT, routes = STR_INIT;
    struct runner_netns messages;
    const struct runner_step del = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    const struct runner_step add = {.size = RUNNER_STEP_INIT,
                                    .kind = RUNNER_TAP_ADD,
                                    .path = name,
                                    .flags = RUNNER_S_HELD,
                                    .netns = &messages,
                                    .undo = &del};
    struct runner_batch *batch;
    int r;

    netns_fill(b, &nic);
    if (netns_messages(b, &nic, &rules, &routes, &messages, err) < 0)
        return -1;
    batch = bridge_host->batch_new(call);
    r = bridge_host->add(batch, &add, err) < 0 || bridge_host->add(batch, &del, err) < 0
            ? -1
            : bridge_host->run(call, batch, err);
    bridge_host->batch_free(batch);
    return r < 0 ? error_wrap(err, "netns") : 0;
}
