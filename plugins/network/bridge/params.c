/* What the configuration says of a network. */
#include <arpa/inet.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"

#define MBIT_MAX 1000000
#define MBIT     (1000000 / 8) /* bytes a second */

const struct runner_param bridge_params[] = {
    {.name = "bridge", .dflt = "br0", .doc = "name of the bridge; made when it is missing", .type = RUNNER_T_STRING},
    {.name = "address",
     .dflt = "10.0.0.1/24",
     .doc = "the bridge's own address with its prefix length: the guests' gateway, the same as ipam's",
     .type = RUNNER_T_STRING},
    {.name = "uplink",
     .dflt = "auto",
     .doc = "interface to the outside; auto: that of the default route; none: guests stay inside",
     .type = RUNNER_T_STRING},
    {.name = "nat",
     .dflt = "true",
     .doc = "masquerade the guests' addresses towards the outside",
     .type = RUNNER_T_BOOL},
    {.name = "isolate", .dflt = "true", .doc = "guests cannot reach each other", .type = RUNNER_T_BOOL},
    {.name = "netns",
     .dflt = "false",
     .doc = "a network namespace for each new sandbox, in which all have the same address and MAC address",
     .type = RUNNER_T_BOOL},
    {.name = "netns_address",
     .dflt = "192.0.0.1/29",
     .doc = "the guests' gateway there, with its prefix length; the guest has the address behind it",
     .type = RUNNER_T_STRING},
    {.name = "allow_private",
     .doc =
         "private or link-local networks that guests may reach all the same, CIDRs (by default none but the gateway)",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REPEAT},
    {.name = "restricted",
     .doc = "where sandboxes of an organization with limited egress may go, CIDRs; none given: as others",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REPEAT},
    {.name = "restricted_mark",
     .dflt = "999",
     .doc = "firewall mark of the packets of such sandboxes, for rules of the host's own; 0: none",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = INT32_MAX},
    {.name = "dns",
     .dflt = "true",
     .doc = "run a forwarder of names on the bridge's address (runner-dns): the guests' server, whatever ipam says; "
            "lists of allowed domains need it",
     .type = RUNNER_T_BOOL},
    {.name = "dns_upstream",
     .doc = "servers that it asks, ADDRESS or ADDRESS:PORT, at most 3; none given: those of the host's resolv.conf",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REPEAT},
    {.name = "dns_program",
     .dflt = LIBEXEC_DIR "/runner-dns",
     .doc = "where it is on the host",
     .type = RUNNER_T_STRING},
    {.name = "rx_mbit",
     .dflt = "0",
     .doc = "what a guest may receive, Mbit/s; 0: no limit",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = MBIT_MAX},
    {.name = "tx_mbit",
     .dflt = "0",
     .doc = "what a guest may send, Mbit/s; 0: no limit",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = MBIT_MAX},
    {.name = "pool",
     .dflt = "8",
     .doc = "how many TAPs of removed sandboxes are kept for the next ones (deleting one takes 16 ms)",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = POOL_MAX},
    {.name = "owner",
     .dflt = "0",
     .doc = "user id that may open the TAPs: that of the VMM",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = INT32_MAX},
    {.name = "mtu",
     .dflt = "0",
     .doc = "largest packet of the guests in bytes, 576 to 1500; 0: 1500",
     .type = RUNNER_T_INT,
     .min = 0,
     .max = 1500},
};

/* Narrower than the kernel's: it goes into scripts of ip and nft. */
static bool is_ifname(const char *name)
{
    size_t len = strlen(name);

    if (len < 1 || len >= IFNAME_SIZE || strchr("-.", name[0]) != NULL)
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

static int set_ifname(char to[IFNAME_SIZE], const struct runner_value *v, struct runner_error *err)
{
    if (!is_ifname(v->text))
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: '%s' is no interface name", v->name, v->text);
    (void)snprintf(to, IFNAME_SIZE, "%s", v->text);
    return 0;
}

/* ADDRESS/PREFIX of a host in its network, of which ret_net is the first address. */
static int read_address(const struct runner_value *v, char ret_address[16], struct in_addr *ret_net,
                        uint32_t *ret_prefix_len, struct runner_error *err)
{
    const char *slash = strchr(v->text, '/');
    auto_free char *ip = mem_dup_n(v->text, slash != NULL ? (size_t)(slash - v->text) : 0);
    struct in_addr address;
    uint32_t mask;
    int64_t prefix;

    if (slash == NULL || inet_pton(AF_INET, ip, &address) != 1 || !num_int(slash + 1, 8, 30, &prefix))
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: '%s' is not ADDRESS/PREFIX, with a prefix of 8 to 30",
                    v->name, v->text);
    mask = htonl(~UINT32_C(0) << (32 - prefix));
    ret_net->s_addr = address.s_addr & mask;
    if (ret_net->s_addr == address.s_addr || (address.s_addr | mask) == UINT32_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: '%s' is the network's own or its broadcast address", v->name,
                    v->text);
    *ret_prefix_len = (uint32_t)prefix;
    (void)snprintf(ret_address, 16, "%s", ip);
    return 0;
}

static int set_address(struct bridge *b, const struct runner_value *v, struct runner_error *err)
{
    struct in_addr net;

    if (read_address(v, b->address, &net, &b->prefix_len, err) < 0)
        return -1;
    (void)inet_ntop(AF_INET, &net, b->subnet, sizeof b->subnet);
    (void)snprintf(b->subnet + strlen(b->subnet), sizeof b->subnet - strlen(b->subnet), "/%u", b->prefix_len);
    return 0;
}

static int set_guest_gateway(struct bridge *b, const struct runner_value *v, struct runner_error *err)
{
    struct in_addr net, address;
    uint32_t mask;

    if (read_address(v, b->guest_gateway, &net, &b->guest_prefix_len, err) < 0)
        return -1;
    (void)inet_pton(AF_INET, b->guest_gateway, &address);
    mask = ~UINT32_C(0) >> b->guest_prefix_len;
    if (((ntohl(address.s_addr) + 1) & mask) == mask)
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: behind '%s' there is no address for a guest", v->name,
                    v->text);
    return 0;
}

static int add_cidr(struct ranges *to, const struct runner_value *v, struct runner_error *err)
{
    struct range range;

    if (!ranges_parse(v->text, &range))
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: '%s' is not ADDRESS/PREFIX", v->name, v->text);
    ranges_add(to, range);
    return 0;
}

/* allowed is emptied. */
static void set_never(struct bridge *b, struct ranges *allowed)
{
    static const char *const closed[] = {"0.0.0.0/8",      "10.0.0.0/8",    "100.64.0.0/10",  "127.0.0.0/8",
                                         "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"};
    struct range range;

    for (size_t i = 0; i < ARRAY_LEN(closed); i++)
        if (ranges_parse(closed[i], &range))
            ranges_add(&b->never, range);
    ranges_tidy(&b->never);
    ranges_tidy(allowed);
    ranges_subtract(&b->never, allowed);
    ranges_done(allowed);
    if (ranges_parse(b->subnet, &range)) /* one's neighbours, whatever else is allowed: `isolate` is about them */
        ranges_add(&b->never, range);
    ranges_tidy(&b->never);
    ranges_tidy(&b->restricted);
}

struct given { /* parameters that are not kept as they are */
    size_t pool;
    struct ranges allowed;
    const char *dns_program;
    bool has_dns;
};

/* Parameters live as long as the instance. */
static int add_upstream(struct bridge *b, const struct runner_value *v, struct runner_error *err)
{
    const char *colon = strchr(v->text, ':');
    auto_free char *ip = mem_dup_n(v->text, colon != NULL ? (size_t)(colon - v->text) : strlen(v->text));
    struct in_addr ignored;
    int64_t port;

    if (b->n_upstreams == ARRAY_LEN(b->upstreams) || inet_pton(AF_INET, ip, &ignored) != 1 ||
        (colon != NULL && !num_int(colon + 1, 1, 65535, &port)))
        return fail(err, RUNNER_E_INVALID, 0, "network.%s: '%s' is not ADDRESS or ADDRESS:PORT, of at most 3", v->name,
                    v->text);
    b->upstreams[b->n_upstreams++] = v->text;
    return 0;
}

static int set_value(struct bridge *b, const struct runner_value *v, struct given *given, struct runner_error *err)
{
    if (strcmp(v->name, "allow_private") == 0)
        return add_cidr(&given->allowed, v, err);
    if (strcmp(v->name, "restricted") == 0)
        return add_cidr(&b->restricted, v, err);
    if (strcmp(v->name, "dns_upstream") == 0)
        return add_upstream(b, v, err);
    if (strcmp(v->name, "dns_program") == 0)
        given->dns_program = v->text;
    if (strcmp(v->name, "dns") == 0)
        given->has_dns = v->number != 0;
    if (strcmp(v->name, "restricted_mark") == 0)
        b->restricted_mark = v->number;
    if (strcmp(v->name, "bridge") == 0)
        return set_ifname(b->name, v, err);
    if (strcmp(v->name, "uplink") == 0)
        return set_ifname(b->uplink, v, err);
    if (strcmp(v->name, "address") == 0)
        return set_address(b, v, err);
    if (strcmp(v->name, "netns_address") == 0)
        return set_guest_gateway(b, v, err);
    if (strcmp(v->name, "netns") == 0)
        b->has_netns = v->number != 0;
    if (strcmp(v->name, "nat") == 0)
        b->has_nat = v->number != 0;
    else if (strcmp(v->name, "isolate") == 0)
        b->is_isolating = v->number != 0;
    else if (strcmp(v->name, "rx_mbit") == 0)
        b->rx_bytes_per_s = (uint64_t)v->number * MBIT;
    else if (strcmp(v->name, "tx_mbit") == 0)
        b->tx_bytes_per_s = (uint64_t)v->number * MBIT;
    else if (strcmp(v->name, "pool") == 0)
        given->pool = (size_t)v->number;
    else if (strcmp(v->name, "owner") == 0)
        b->owner_uid = v->number;
    else if (strcmp(v->name, "mtu") == 0)
        b->mtu = v->number;
    if (b->mtu != 0 && b->mtu < 576)
        return fail(err, RUNNER_E_INVALID, 0, "network.mtu: %lld is neither 0 nor 576 to 1500", (long long)b->mtu);
    return 0;
}

int params_read(struct bridge *b, const struct runner_value *values, size_t n, size_t *ret_pool,
                struct runner_error *err)
{
    struct given given = {0};

    for (size_t i = 0; i < n; i++)
        if (set_value(b, &values[i], &given, err) < 0) {
            ranges_done(&given.allowed);
            return -1;
        }
    b->dns_program = given.has_dns ? given.dns_program : NULL;
    set_never(b, &given.allowed);
    *ret_pool = given.pool;
    return 0;
}
