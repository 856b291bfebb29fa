/* network/bridge: each sandbox a TAP on a bridge, routed and masqueraded, guests apart from each other. */
#include "plugins/network/bridge/bridge.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/netns.h"
#include "plugins/network/bridge/shaper.h"

#define MBIT_MAX   1000000
#define MBIT       (1000000 / 8) /* bytes a second */
#define GROUP_OURS 0x72000000u   /* above what people number by hand */

const struct runner_host *bridge_host;

uint64_t bridge_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */

static const struct runner_param bridge_params[] = {
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

/* ---- life ------------------------------------------------------------------------------------------------------- */

static int bridge_load(const struct runner_host *host, struct runner_error *err)
{
    (void)err;
    bridge_host = host;
    return 0;
}

static void bridge_destroy(void *self)
{
    struct bridge *b = self;

    if (b == NULL)
        return;
    names_free(b->names);
    ranges_done(&b->never);
    ranges_done(&b->restricted);
    free(b);
}

static int bridge_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct bridge *b = mem_alloc(sizeof *b);
    uint64_t hash;
    struct given given = {0};

    for (size_t i = 0; i < n; i++)
        if (set_value(b, &values[i], &given, err) < 0) {
            ranges_done(&given.allowed);
            bridge_destroy(b);
            return -1;
        }
    hash = bridge_hash(b->name);
    (void)snprintf(b->mac, sizeof b->mac, "02:72:%02x:%02x:%02x:%02x", (unsigned)(hash >> 24 & 0xff),
                   (unsigned)(hash >> 16 & 0xff), (unsigned)(hash >> 8 & 0xff), (unsigned)(hash & 0xff));
    b->group = GROUP_OURS | (uint32_t)(hash & 0xffffff);
    b->dns_program = given.has_dns ? given.dns_program : NULL;
    set_never(b, &given.allowed);
    b->names = names_new(b->name, given.pool);
    names_set_forwarder(b->names, b->dns_program != NULL);
    *ret_self = b;
    return 0;
}

static int bridge_check(void *self, struct runner_call *call, struct runner_error *err)
{
    struct bridge *b = self;

    if (setup_check(b, call, err) < 0)
        return -1;
    return names_is_set_up(b->names) ? watch_check(b, call, err) : 0;
}

static int bridge_setup(void *self, struct runner_call *call, struct runner_error *err)
{
    return setup_run(self, call, err);
}

/* ---- a sandbox -------------------------------------------------------------------------------------------------- */

static int check_nic(const struct bridge *b, const struct runner_nic *nic, struct runner_error *err)
{
    if (nic->gateway[0] != '\0' && strcmp(nic->gateway, b->address) != 0)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: ipam's gateway %s is not the bridge's address %s/%u",
                    nic->gateway, b->address, b->prefix_len);
    return 0;
}

static int add_tap(const struct bridge *b, struct runner_batch *batch, const char *name, const struct runner_nic *nic,
                   const struct runner_netns *netns, struct runner_error *err)
{
    const bool is_number = netns == NULL && names_is_number(b->names, name); /* one that is there stays there */
    uint32_t uid = RUNNER_HAS(nic, uid) ? nic->uid : 0; /* a core older than the member has no other than the owner */
    const struct runner_port port = {.size = sizeof port, .group = b->group, .mac = nic->mac, .address = nic->address};
    struct runner_step undo = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name, .to = b->name, .port = &port};
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_TAP_ADD,
                               .path = name,
                               .to = b->name,
                               .port = &port,
                               .netns = netns,
                               .number = uid != 0 ? uid : b->owner_uid,
                               .flags = (b->is_isolating ? RUNNER_S_ISOLATED : 0) |
                                        (RUNNER_HAS(nic, is_dialled) ? RUNNER_S_HELD : 0) |
                                        (is_number ? RUNNER_S_IDLE : 0),
                               .undo = &undo};

    if (is_number) {
        undo.data = name;
        undo.len = strlen(name) + 1;
    }
    return bridge_host->add(batch, &step, err);
}

static int add_namespace(const struct bridge *b, struct runner_batch *batch, const char *name,
                         const struct runner_nic *nic, struct runner_error *err)
{
    auto_str struct str rules = STR_INIT, routes = STR_INIT;
    struct runner_netns messages;

    if (netns_messages(b, nic, &rules, &routes, &messages, err) < 0)
        return -1;
    return add_tap(b, batch, name, nic, &messages, err);
}

/* Before its TAP is there the rules know whose it is. */
static int add_guest(const struct bridge *b, struct runner_batch *batch, const char *name, const struct runner_nic *nic,
                     struct runner_error *err)
{
    /* Left over when the host went down or the VMM was killed while nobody watched: what it is, a new VMM must not get.
     */
    const struct runner_step clear = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    bool is_again = nic->name[0] != '\0';
    struct guest guest;

    if (plan_guest(nic, name, &guest, err) < 0)
        return -1;
    if (is_again) {
        names_set_lists(b->names, name, LISTS_UNKNOWN);
        names_set_rates(b->names, name);
    }
    names_set_address(b->names, name, nic->address);
    if ((is_again && bridge_host->add(batch, &clear, err) < 0) || plan_identity(b, batch, &guest, err) < 0)
        return -1;
    return netns_has(nic) ? add_namespace(b, batch, name, nic, err) : add_tap(b, batch, name, nic, NULL, err);
}

static int bridge_attach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                         struct runner_nic *nic, struct runner_error *err)
{
    struct bridge *b = self;
    char name[IFNAME_SIZE];

    (void)call;
    if (netns_wants(b, nic))
        netns_fill(b, nic);
    if (check_nic(b, nic, err) < 0 || names_reserve(b->names, id, nic->name, !netns_has(nic), name, err) < 0)
        return -1;
    if (add_guest(b, batch, name, nic, err) < 0) {
        names_release(b->names, id);
        return -1;
    }
    nic->kind = RUNNER_NIC_TAP;
    memcpy(nic->name, name, sizeof nic->name);
    if (b->mtu > 0)
        nic->mtu = (uint32_t)b->mtu;
    if (names_has_forwarder(b->names)) /* a sandbox that may reach only some names can ask no other */
        (void)snprintf(nic->dns, sizeof nic->dns, "%s", b->address);
    return 0;
}

static int bridge_detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                         const struct runner_nic *nic, struct runner_error *err)
{
    struct bridge *b = self;
    char idle[IFNAME_SIZE];
    const struct runner_port port = {.size = sizeof port, .mac = nic->mac, .address = nic->address};
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = nic->name};
    struct guest guest;

    (void)id;
    if (nic->kind != RUNNER_NIC_TAP || nic->name[0] == '\0')
        return 0;
    if (names_keep(b->names, nic->name, !netns_has(nic), idle)) {
        step.data = idle;
        step.len = strlen(idle) + 1;
    }
    if (plan_guest(nic, nic->name, &guest, NULL) < 0) { /* of a record that does not say: sweep finds what is left */
        if (bridge_host->add(batch, &step, err) < 0)
            return -1;
    } else {
        step.to = b->name;
        step.port = &port;
        if ((names_has_rates(b->names, nic->name) && shaper_remove(b, batch, &guest, err) < 0) ||
            bridge_host->add(batch, &step, err) < 0 ||
            plan_removal(b, batch, &guest, names_lists(b->names, nic->name), names_has_rates(b->names, nic->name),
                         err) < 0 ||
            plan_cut(batch, nic->address, err) < 0 || allowed_forget(b, call, batch, nic->address, err) < 0)
            return -1;
    }
    return 0;
}

static int bridge_release(void *self, const char *id, struct runner_error *err)
{
    struct bridge *b = self;

    (void)err;
    names_release(b->names, id);
    return 0;
}

/* Where some connections may go on none is cut in conntrack: what is said to them before they speak again would reach the
 * host instead, which resets them. */
static bool allows_nothing(const struct runner_policy *policy)
{
    return (policy->flags & RUNNER_POLICY_BLOCK) ||
           ((policy->flags & RUNNER_POLICY_LISTED) && policy->n_cidrs == 0 && policy->n_domains == 0);
}

/* What queues keep of them is none of the rules' business. */
static int set_limits(struct bridge *b, struct runner_call *call, struct runner_batch *batch, const struct guest *guest,
                      struct runner_policy *policy, struct runner_error *err)
{
    if (policy->rx_bytes_per_s == 0)
        policy->rx_bytes_per_s = b->rx_bytes_per_s;
    if (policy->tx_bytes_per_s == 0)
        policy->tx_bytes_per_s = b->tx_bytes_per_s;
    if (policy->rx_bytes_per_s > 0 || policy->tx_bytes_per_s > 0)
        names_set_rates(b->names, guest->port);
    if (!names_has_rates(b->names, guest->port))
        return 0;
    return shaper_plan(b, call, batch, guest, &policy->rx_bytes_per_s, &policy->tx_bytes_per_s, err);
}

static int bridge_apply_policy(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                               const struct runner_nic *nic, const struct runner_policy *policy,
                               struct runner_error *err)
{
    struct bridge *b = self;
    struct runner_policy rest = *policy;
    struct guest guest;
    bool are_names_same;

    if (nic->kind != RUNNER_NIC_TAP || plan_guest(nic, nic->name, &guest, err) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is not attached", id);
    if (allowed_tell(b, call, batch, nic, policy, &are_names_same, err) < 0)
        return -1;
    if (set_limits(b, call, batch, &guest, &rest, err) < 0 ||
        plan_policy(b, batch, &guest, &rest, names_lists(b->names, nic->name), names_has_rates(b->names, nic->name),
                    are_names_same, err) < 0)
        return -1;
    if (policy->flags & RUNNER_POLICY_BLOCK)
        names_set_lists(b->names, nic->name, LISTS_UNKNOWN); /* none, unless the steps fail */
    else if (policy->flags & RUNNER_POLICY_LISTED)
        names_set_lists(b->names, nic->name, LISTS_EXPECTED);
    return allows_nothing(policy) && plan_cut(batch, nic->address, err) < 0 ? -1 : 0;
}

static int bridge_counters(void *self, struct runner_call *call, const struct runner_nic *const *nics, size_t n,
                           struct runner_nic_counters *ret, struct runner_error *err)
{
    return counters_read(self, call, nics, n, ret, err);
}

static int bridge_adopt(void *self, struct runner_call *call, const char *id, const struct runner_nic *nic,
                        struct runner_error *err)
{
    struct bridge *b = self;

    (void)call;
    if (nic->kind != RUNNER_NIC_TAP || nic->name[0] == '\0')
        return 0;
    return names_adopt(b->names, id, nic->name, err);
}

static int bridge_sweep(void *self, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                        struct runner_error *err)
{
    return sweep_run(self, call, owned, n, err);
}

static int bridge_address(void *self, const struct runner_nic *nic, uint32_t guest_port, char *ret_address, size_t size,
                          struct runner_error *err)
{
    struct in_addr address;
    int n;

    (void)self;
    if (inet_pton(AF_INET, nic->address, &address) != 1 || guest_port < 1 || guest_port > 65535)
        return fail(err, RUNNER_E_INVALID, 0, "'%s' port %u cannot be dialled", nic->address, guest_port);
    n = snprintf(ret_address, size, "tcp:%s:%u", nic->address, guest_port);
    if (n < 0 || (size_t)n >= size)
        return fail(err, RUNNER_E_INVALID, 0, "no room for an address in %zu bytes", size);
    return 0;
}

static const struct runner_network_ops bridge_ops = {
    .setup = bridge_setup,
    .attach = bridge_attach,
    .detach = bridge_detach,
    .adopt = bridge_adopt,
    .sweep = bridge_sweep,
    .address = bridge_address,
    .apply_policy = bridge_apply_policy,
    .counters = bridge_counters,
    .release = bridge_release,
};

static const struct runner_plugin bridge_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_NETWORK, "bridge", bridge_ops),
    .threads = RUNNER_PARALLEL,
    .n_params = ARRAY_LEN(bridge_params),
    .params = bridge_params,
    .caps = RUNNER_NETWORK_CAP_ISOLATION | RUNNER_NETWORK_CAP_ALL_PORTS | RUNNER_NETWORK_CAP_COUNTERS |
            RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_DOMAINS,
    .version = "1.0",
    .summary = "TAPs on a routed bridge, guests apart from each other, NAT to the outside",
    .load = bridge_load,
    .create = bridge_create,
    .check = bridge_check,
    .destroy = bridge_destroy,
    .diagnose = diagnose_run,
};

RUNNER_PLUGIN(bridge_plugin)
