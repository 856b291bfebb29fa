/* network/bridge: each sandbox a TAP on a bridge, routed and masqueraded, guests apart from each other. */
#include "plugins/network/bridge/bridges.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/network/bridge/cuts.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/netns.h"
#include "plugins/network/bridge/setup.h"
#include "plugins/network/bridge/shaper.h"

#define GROUP_OURS 0x72000000u /* above what people number by hand */

const struct runner_host *bridge_host;

uint64_t bridge_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
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
    cuts_free(b->cuts);
    pthread_mutex_destroy(&b->growing);
    ranges_done(&b->never);
    ranges_done(&b->restricted);
    free(b);
}

static int bridge_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct bridge *b = mem_alloc(sizeof *b);
    uint64_t hash;
    size_t pool;

    pthread_mutex_init(&b->growing, NULL);
    if (params_read(b, values, n, &pool, err) < 0) {
        bridge_destroy(b);
        return -1;
    }
    hash = bridge_hash(b->name);
    (void)snprintf(b->mac, sizeof b->mac, "02:72:%02x:%02x:%02x:%02x", (unsigned)(hash >> 24 & 0xff),
                   (unsigned)(hash >> 16 & 0xff), (unsigned)(hash >> 8 & 0xff), (unsigned)(hash & 0xff));
    b->group = GROUP_OURS | (uint32_t)(hash & 0xffffff);
    b->bridges_max = b->is_isolating ? BRIDGES_MAX : 1;
    b->names = names_new(b->name, pool);
    b->cuts = cuts_new();
    b->has_forwarder = b->dns_program != NULL;
    *ret_self = b;
    return 0;
}

static int bridge_check(void *self, struct runner_call *call, struct runner_error *err)
{
    struct bridge *b = self;

    if (setup_check(b, call, err) < 0)
        return -1;
    if (!b->is_set_up)
        return 0;
    cuts_run(b, call);
    return watch_check(b, call, err);
}

static int bridge_setup(void *self, struct runner_call *call, struct runner_error *err)
{
    return setup_run(self, call, 0, err);
}

/* ---- a sandbox -------------------------------------------------------------------------------------------------- */

static int check_nic(const struct bridge *b, const struct runner_nic *nic, struct runner_error *err)
{
    if (nic->gateway[0] != '\0' && strcmp(nic->gateway, b->address) != 0)
        return fail(err, RUNNER_E_INVALID, 0,
                    "network/bridge: the bridge's address is %s/%u (network: {address: ...}), but ipam gives guests "
                    "the gateway %s (ipam: {gateway: ...}), which must be the same",
                    b->address, b->prefix_len, nic->gateway);
    return 0;
}

static int add_tap(const struct bridge *b, struct runner_batch *batch, const char *name, const struct runner_nic *nic,
                   const struct runner_netns *netns, struct runner_error *err)
{
    const bool is_number = netns == NULL && names_is_number(b->names, name); /* one that is there stays there */
    uint32_t uid = RUNNER_HAS(nic, uid) ? nic->uid : 0; /* a core older than the member has no other than the owner */
    char bridge[IFNAME_SIZE], other[IFNAME_SIZE];
    int also;
    struct runner_port port = {.size = sizeof port, .group = b->group, .mac = nic->mac, .address = nic->address};
    struct runner_step undo = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name, .to = bridge, .port = &port};
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_TAP_ADD,
                               .path = name,
                               .to = bridge,
                               .port = &port,
                               .netns = netns,
                               .number = uid != 0 ? uid : b->owner_uid,
                               .flags = (b->is_isolating ? RUNNER_S_ISOLATED : 0) |
                                        (RUNNER_HAS(nic, is_dialled) ? RUNNER_S_HELD : 0) |
                                        (is_number ? RUNNER_S_IDLE : 0),
                               .undo = &undo};

    bridges_name(b, names_bridge(b->names, name, &also), bridge);
    if (also >= 0) {
        bridges_name(b, (unsigned)also, other);
        port.also = other;
        port.is_routed = 1;
    }
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

    if (netns_wants(b, nic))
        netns_fill(b, nic);
    if (check_nic(b, nic, err) < 0 || bridges_grow(b, call, err) < 0 ||
        names_reserve(b->names, id, nic->name, !netns_has(nic), name, err) < 0)
        return -1;
    if (add_guest(b, batch, name, nic, err) < 0) {
        names_release(b->names, id);
        return -1;
    }
    nic->kind = RUNNER_NIC_TAP;
    memcpy(nic->name, name, sizeof nic->name);
    if (b->mtu > 0)
        nic->mtu = (uint32_t)b->mtu;
    if (b->has_forwarder) /* a sandbox that may reach only some names can ask no other */
        (void)snprintf(nic->dns, sizeof nic->dns, "%s", b->address);
    return 0;
}

static int bridge_detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                         const struct runner_nic *nic, struct runner_error *err)
{
    struct bridge *b = self;
    char idle[IFNAME_SIZE], bridge[IFNAME_SIZE];
    int also;
    struct runner_port port = {.size = sizeof port, .mac = nic->mac, .address = nic->address};
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = nic->name};
    struct guest guest;

    (void)id;
    if (nic->kind != RUNNER_NIC_TAP || nic->name[0] == '\0')
        return 0;
    cuts_set(b->cuts, nic->address, NULL);
    if (names_keep(b->names, nic->name, !netns_has(nic), idle)) {
        step.data = idle;
        step.len = strlen(idle) + 1;
    }
    if (plan_guest(nic, nic->name, &guest, NULL) < 0) { /* of a record that does not say: sweep finds what is left */
        if (bridge_host->add(batch, &step, err) < 0)
            return -1;
    } else {
        bridges_name(b, names_bridge(b->names, nic->name, &also), bridge);
        port.is_routed = also >= 0;
        step.to = bridge;
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

/* What names stand for is not known here: connections of such a list end by themselves. */
static bool leaves_some(const struct runner_policy *policy)
{
    return !(policy->flags & RUNNER_POLICY_BLOCK) && (policy->flags & RUNNER_POLICY_LISTED) && policy->n_cidrs > 0 &&
           policy->n_domains == 0;
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
    enum lists lists = names_lists(b->names, nic->name);
    bool are_names_same;

    if (nic->kind != RUNNER_NIC_TAP || plan_guest(nic, nic->name, &guest, err) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is not attached", id);
    if (allowed_tell(b, call, batch, nic, policy, &are_names_same, err) < 0)
        return -1;
    if (set_limits(b, call, batch, &guest, &rest, err) < 0 ||
        plan_policy(b, batch, &guest, &rest, &lists, names_has_rates(b->names, nic->name), are_names_same, err) < 0)
        return -1;
    names_set_lists(b->names, nic->name, lists);
    if (!are_names_same && allowed_told(b, call, batch, nic, policy, err) < 0)
        return -1;
    cuts_set(b->cuts, nic->address, leaves_some(policy) ? policy : NULL);
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
    if (names_adopt(b->names, id, nic->name, err) < 0)
        return -1;
    names_set_address(b->names, nic->name, nic->address);
    return 0;
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
    .n_params = N_PARAMS,
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
