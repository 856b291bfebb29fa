/* network/bridge: each sandbox a TAP on a bridge, routed and masqueraded, guests apart from each other. */
#include "plugins/network/bridge/bridge.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"

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

static int set_address(struct bridge *b, const char *text, struct runner_error *err)
{
    const char *slash = strchr(text, '/');
    auto_free char *ip = mem_dup_n(text, slash != NULL ? (size_t)(slash - text) : 0);
    struct in_addr address, net;
    uint32_t mask;
    int64_t prefix;

    if (slash == NULL || inet_pton(AF_INET, ip, &address) != 1 || !num_int(slash + 1, 8, 30, &prefix))
        return fail(err, RUNNER_E_INVALID, 0, "network.address: '%s' is not ADDRESS/PREFIX, with a prefix of 8 to 30",
                    text);
    mask = htonl(~UINT32_C(0) << (32 - prefix));
    net.s_addr = address.s_addr & mask;
    if (net.s_addr == address.s_addr || (address.s_addr | mask) == UINT32_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "network.address: '%s' is the network's own or its broadcast address",
                    text);
    b->prefix_len = (uint32_t)prefix;
    (void)snprintf(b->address, sizeof b->address, "%s", ip);
    (void)inet_ntop(AF_INET, &net, b->subnet, sizeof b->subnet);
    (void)snprintf(b->subnet + strlen(b->subnet), sizeof b->subnet - strlen(b->subnet), "/%u", b->prefix_len);
    return 0;
}

static int set_value(struct bridge *b, const struct runner_value *v, size_t *ret_pool, struct runner_error *err)
{
    if (strcmp(v->name, "bridge") == 0)
        return set_ifname(b->name, v, err);
    if (strcmp(v->name, "uplink") == 0)
        return set_ifname(b->uplink, v, err);
    if (strcmp(v->name, "address") == 0)
        return set_address(b, v->text, err);
    if (strcmp(v->name, "nat") == 0)
        b->has_nat = v->number != 0;
    else if (strcmp(v->name, "isolate") == 0)
        b->is_isolating = v->number != 0;
    else if (strcmp(v->name, "pool") == 0)
        *ret_pool = (size_t)v->number;
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
    free(b);
}

static int bridge_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct bridge *b = mem_alloc(sizeof *b);
    uint64_t hash;
    size_t pool = 0;

    for (size_t i = 0; i < n; i++)
        if (set_value(b, &values[i], &pool, err) < 0) {
            bridge_destroy(b);
            return -1;
        }
    hash = bridge_hash(b->name);
    (void)snprintf(b->mac, sizeof b->mac, "02:72:%02x:%02x:%02x:%02x", (unsigned)(hash >> 24 & 0xff),
                   (unsigned)(hash >> 16 & 0xff), (unsigned)(hash >> 8 & 0xff), (unsigned)(hash & 0xff));
    b->names = names_new(b->name, pool);
    *ret_self = b;
    return 0;
}

static int bridge_check(void *self, struct runner_call *call, struct runner_error *err)
{
    return setup_check(self, call, err);
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

static int add_tap(const struct bridge *b, struct runner_batch *batch, const char *name, uint32_t uid, bool is_dialled,
                   struct runner_error *err)
{
    char idle[IFNAME_SIZE];
    bool has_idle = names_take_idle(b->names, idle);
    struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_TAP_ADD,
                               .path = name,
                               .to = b->name,
                               .number = uid != 0 ? uid : b->owner_uid,
                               .flags = (b->is_isolating ? RUNNER_S_ISOLATED : 0) | (is_dialled ? RUNNER_S_HELD : 0),
                               .undo = &undo};

    if (has_idle) {
        step.data = undo.data = idle;
        step.len = undo.len = strlen(idle) + 1;
    }
    return bridge_host->add(batch, &step, err);
}

/* Who owns the TAP, 0: the configured owner; a core older than the member has no other. */
static uint32_t uid_of(const struct runner_nic *nic)
{
    return RUNNER_HAS(nic, uid) ? nic->uid : 0;
}

static int bridge_attach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                         struct runner_nic *nic, struct runner_error *err)
{
    struct bridge *b = self;
    char name[IFNAME_SIZE];
    /* Left over when the host went down or the VMM was killed while nobody watched: what it is, a new VMM must not get.
     */
    struct runner_step clear = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};

    (void)call;
    if (check_nic(b, nic, err) < 0 || names_reserve(b->names, id, nic->name, name, err) < 0)
        return -1;
    if ((nic->name[0] != '\0' && bridge_host->add(batch, &clear, err) < 0) ||
        add_tap(b, batch, name, uid_of(nic), RUNNER_HAS(nic, is_dialled), err) < 0) {
        names_release(b->names, id, name);
        return -1;
    }
    nic->kind = RUNNER_NIC_TAP;
    memcpy(nic->name, name, sizeof nic->name);
    if (b->mtu > 0)
        nic->mtu = (uint32_t)b->mtu;
    return 0;
}

static int bridge_detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                         const struct runner_nic *nic, struct runner_error *err)
{
    struct bridge *b = self;
    char idle[IFNAME_SIZE];
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = nic->name};

    (void)call;
    if (nic->kind != RUNNER_NIC_TAP || nic->name[0] == '\0')
        return 0;
    if (names_give_idle(b->names, idle)) {
        step.data = idle;
        step.len = strlen(idle) + 1;
    }
    if (bridge_host->add(batch, &step, err) < 0)
        return -1;
    names_release(b->names, id, nic->name);
    return 0;
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
};

static const struct runner_plugin bridge_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_NETWORK, "bridge", bridge_ops),
    .threads = RUNNER_PARALLEL,
    .n_params = ARRAY_LEN(bridge_params),
    .params = bridge_params,
    .caps = RUNNER_NETWORK_CAP_ISOLATION | RUNNER_NETWORK_CAP_ALL_PORTS,
    .version = "1.0",
    .summary = "TAPs on a routed bridge, guests apart from each other, NAT to the outside",
    .load = bridge_load,
    .create = bridge_create,
    .check = bridge_check,
    .destroy = bridge_destroy,
    .diagnose = diagnose_run,
};

RUNNER_PLUGIN(bridge_plugin)
