/* What all sandboxes of a host share: the bridge, its address, forwarding, the rules. */
#include "plugins/network/bridge/names.h"

#include <string.h>

#include "core/util/json.h"
#include "plugins/network/bridge/netns.h"

#define ALIAS       "runner-ch"
#define ADDRESS_SET '3' /* NET_ADDR_SET, as sysfs says it */
#define NEIGH_RETRY_MS                                                                                                 \
    "100" /* how often an address that does not answer is asked for: a guest just booted is met soon */

static const char *const families[] = {"bridge", "inet"};

struct state {                                                /* of the host, as found */
    bool has_bridge, has_mac, has_rules[ARRAY_LEN(families)]; /* has_mac: the bridge's is the one that we give */
    char mac[18];                                             /* of the bridge, where the kernel chose it; else "" */
    char uplink[IFNAME_SIZE];                                 /* "": none */
};

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

static int add_run(struct runner_batch *batch, const char *const *argv, const char *input, uint32_t flags,
                   struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = flags, .argv = argv};

    if (input != NULL) {
        step.data = input;
        step.len = strlen(input);
    }
    return bridge_host->add(batch, &step, err);
}
#define ADD_RUN(batch, input, flags, err, ...)                                                                         \
    add_run(batch, (const char *const[]){__VA_ARGS__, NULL}, input, flags, err)

/* ---- what is there ---------------------------------------------------------------------------------------------- */

static int parse_output(const struct runner_batch *batch, int index, const char *what, struct json **ret,
                        struct runner_error *err)
{
    const struct runner_result *result = bridge_host->result(batch, index);

    *ret = NULL;
    if (result == NULL || result->status != 0 || result->len == 0)
        return 0;
    if (json_parse(result->out, result->len, ret, err) < 0)
        return error_wrap(err, "output of '%s'", what);
    return 0;
}

static int read_bridge(const struct bridge *b, const struct json *links, bool is_chosen, struct state *ret,
                       struct runner_error *err)
{
    const struct json *link = links != NULL ? links->first : NULL;
    const char *kind = json_text(json_get(link, "linkinfo"), "info_kind", "");

    ret->has_bridge = link != NULL;
    ret->has_mac = link == NULL || strcmp(json_text(link, "address", ""), b->mac) == 0;
    if (is_chosen)
        (void)snprintf(ret->mac, sizeof ret->mac, "%s", json_text(link, "address", ""));
    if (link != NULL && strcmp(kind, "bridge") != 0)
        return fail(err, RUNNER_E_EXISTS, 0, "interface '%s' exists and is no bridge", b->name);
    return 0;
}

/* The device of the default route with the smallest metric that is not the bridge itself. */
void setup_uplink(const struct bridge *b, const struct json *routes, char ret[IFNAME_SIZE])
{
    int64_t best = INT64_MAX;

    ret[0] = '\0';
    if (strcmp(b->uplink, "none") == 0)
        return;
    if (strcmp(b->uplink, "auto") != 0) {
        memcpy(ret, b->uplink, IFNAME_SIZE);
        return;
    }
    for (const struct json *r = routes != NULL ? routes->first : NULL; r != NULL; r = r->next) {
        const char *dev = json_text(r, "dev", "");
        int64_t metric = json_int(r, "metric", 0);

        if (dev[0] == '\0' || strlen(dev) >= IFNAME_SIZE || strcmp(dev, b->name) == 0 || metric >= best)
            continue;
        best = metric;
        (void)snprintf(ret, IFNAME_SIZE, "%s", dev);
    }
}

/* Without its program there is no forwarder, and lists of domains are refused. */
static int find_forwarder(struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    const struct runner_step stat = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = b->dns_program};
    const struct runner_field field = {"dns_program", b->dns_program};
    bool is_there;

    if (b->dns_program == NULL)
        return 0;
    if (bridge_host->add(batch, &stat, err) < 0 || bridge_host->run(call, batch, err) < 0)
        return -1;
    is_there = bridge_host->result(batch, 0)->status == 0;
    b->has_forwarder = is_there;
    if (!is_there)
        bridge_host->log(call, RUNNER_LOG_WARN, "network.no_forwarder", &field, 1);
    return 0;
}

static int look(const struct bridge *b, struct runner_call *call, char marks[][32], struct state *ret,
                struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    auto_json struct json *links = NULL, *routes = NULL;
    auto_str struct str table = STR_INIT;
    auto_free char *assigned = mem_printf("/sys/class/net/%s/addr_assign_type", b->name);
    const struct runner_step read = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_READ,
                                     .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                                     .path = assigned,
                                     .number = 16};
    const struct runner_result *type;
    int link_at, route_at, type_at, rules_at[ARRAY_LEN(families)];

    rules_table(b, &table);
    link_at = ADD_RUN(batch, NULL, RUNNER_S_ANY_STATUS, err, "ip", "-j", "-d", "link", "show", "dev", b->name);
    route_at = ADD_RUN(batch, NULL, 0, err, "ip", "-j", "-4", "route", "show", "default");
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        rules_at[i] = ADD_RUN(batch, NULL, RUNNER_S_ANY_STATUS, err, "nft", "list", "chain", families[i],
                              str_text(&table), marks[i]);
        if (rules_at[i] < 0)
            return -1;
    }
    type_at = bridge_host->add(batch, &read, err);
    if (link_at < 0 || route_at < 0 || type_at < 0 || bridge_host->run(call, batch, err) < 0)
        return -1;
    type = bridge_host->result(batch, type_at);
    if (parse_output(batch, link_at, "ip link", &links, err) < 0 ||
        parse_output(batch, route_at, "ip route", &routes, err) < 0 ||
        read_bridge(b, links, type->len > 0 && type->out[0] != ADDRESS_SET, ret, err) < 0)
        return -1;
    setup_uplink(b, routes, ret->uplink);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        ret->has_rules[i] = bridge_host->result(batch, rules_at[i])->status == 0;
    return 0;
}

/* ---- what is made ----------------------------------------------------------------------------------------------- */

/* A bridge that was there before keeps its own settings; it gets the address and is put up. Its hardware address, too, but
 * as one that was set: else it is the lowest of its ports', which VMMs can change. To set it makes the kernel forget its
 * neighbours, so that is not done again. */
static int add_bridge(const struct bridge *b, const struct state *state, struct runner_batch *batch,
                      struct runner_error *err)
{
    auto_str struct str make = STR_INIT, use = STR_INIT;
    auto_free char *ipv6 = mem_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", b->name);

    str_addf(&make, "link add name %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n", b->name);
    str_addf(&make, "link set dev %s address %s alias " ALIAS "\n", b->name, b->mac); /* else it takes a port's */
    if (!state->has_bridge && ADD_RUN(batch, str_text(&make), 0, err, "ip", "-batch", "-") < 0)
        return -1;
    /* Before it is up; a host without IPv6 has no such file. */
    if (ADD_RUN(batch, "1\n", RUNNER_S_ANY_STATUS, err, "tee", ipv6) < 0)
        return -1;
    if (b->mtu > 0)
        str_addf(&use, "link set dev %s mtu %lld\n", b->name, (long long)b->mtu);
    if (state->has_bridge && state->mac[0] != '\0')
        str_addf(&use, "link set dev %s address %s\n", b->name, state->mac);
    str_addf(&use, "addr replace %s/%u dev %s\n", b->address, b->prefix_len, b->name);
    str_addf(&use, "link set dev %s up\n", b->name);
    return ADD_RUN(batch, str_text(&use), 0, err, "ip", "-batch", "-");
}

/* Forwarding goes by the device a packet comes in at: these two, not every interface of the host. */
static int add_settings(const struct bridge *b, const struct state *state, struct runner_batch *batch,
                        struct runner_error *err)
{
    auto_free char *bridge = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", b->name);
    auto_free char *uplink = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", state->uplink);
    auto_free char *accept = mem_printf("/proc/sys/net/ipv4/conf/%s/accept_redirects", b->name);
    auto_free char *source = mem_printf("/proc/sys/net/ipv4/conf/%s/accept_source_route", b->name);
    auto_free char *send = mem_printf("/proc/sys/net/ipv4/conf/%s/send_redirects", b->name);
    auto_free char *retry = mem_printf("/proc/sys/net/ipv4/neigh/%s/retrans_time_ms", b->name);

    if (state->uplink[0] != '\0' && ADD_RUN(batch, "1\n", 0, err, "tee", bridge, uplink) < 0)
        return -1;
    /* Source routes: a packet that says its next hop within goes there from the gateway, which every guest may speak to. */
    if (ADD_RUN(batch, "0\n", 0, err, "tee", accept, source, send) < 0)
        return -1;
    return ADD_RUN(batch, NEIGH_RETRY_MS "\n", 0, err, "tee", retry);
}

static void log_setup(const struct bridge *b, struct runner_call *call, const struct state *state)
{
    struct runner_field fields[] = {
        {"bridge", b->name},
        {"made", state->has_bridge ? "no" : "yes"},
        {"uplink", state->uplink[0] != '\0' ? state->uplink : "none"},
        {"rules", state->has_rules[0] && state->has_rules[1] ? "as they were" : "replaced"},
    };

    bridge_host->log(call, RUNNER_LOG_INFO, "network.setup", fields, ARRAY_LEN(fields));
    if (state->uplink[0] == '\0' && strcmp(b->uplink, "auto") == 0)
        bridge_host->log(call, RUNNER_LOG_WARN, "network.no_uplink", fields, 1);
}

/* What was so from the beginning is how its owner wants it: told once. What comes later is told by each look. */
static int find_firewall(const struct bridge *b, struct runner_call *call, bool *ret, struct runner_error *err)
{
    struct firewall found;
    struct runner_field fields[] = {{"table", found.table}, {"chain", found.chain}, {"bridge", b->name}};

    *ret = false;
    if (strcmp(b->uplink, "none") == 0 || b->is_set_up)
        return 0;
    if (firewall_find(b, call, &found, err) < 0)
        return -1;
    *ret = found.chain[0] != '\0';
    if (*ret)
        bridge_host->log(call, RUNNER_LOG_WARN, "network.foreign_drop", fields, ARRAY_LEN(fields));
    return 0;
}

int setup_run(struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    auto_str struct str both = STR_INIT;
    struct state state = {0};
    char marks[ARRAY_LEN(families)][32];
    bool had_firewall;

    if (find_forwarder(b, call, err) < 0)
        return error_wrap(err, "network/bridge");
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        auto_str struct str script = STR_INIT;
        rules_script(b, families[i], &script, marks[i]);
    }
    if (look(b, call, marks, &state, err) < 0)
        return error_wrap(err, "network/bridge");
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (!state.has_rules[i])
            rules_script(b, families[i], &both, marks[i]);
    /* The rules first: there is no moment at which a guest could pass without them. */
    if (both.len > 0 && ADD_RUN(batch, str_text(&both), 0, err, "nft", "-f", "-") < 0)
        return -1;
    if (add_bridge(b, &state, batch, err) < 0 || add_settings(b, &state, batch, err) < 0)
        return -1;
    if ((b->has_forwarder ? allowed_start : allowed_stop)(b, call, batch, err) < 0)
        return -1;
    if (bridge_host->run(call, batch, err) < 0)
        return error_wrap(err, "network/bridge: set up '%s'", b->name);
    b->has_mac = state.has_mac;
    log_setup(b, call, &state);
    if (find_firewall(b, call, &had_firewall, err) < 0)
        return error_wrap(err, "network/bridge");
    if (!b->is_set_up)
        b->had_firewall = had_firewall;
    b->is_set_up = true;
    return 0;
}

/* ---- check ------------------------------------------------------------------------------------------------------ */

int setup_check(const struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    struct runner_step stat = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = "/dev/net/tun"};
    int stat_at;

    stat_at = bridge_host->add(batch, &stat, err);
    if (stat_at < 0 || ADD_RUN(batch, NULL, 0, err, "ip", "-V") < 0 ||
        ADD_RUN(batch, NULL, 0, err, "nft", "list", "tables") < 0) /* needs CAP_NET_ADMIN, as the rest will */
        return -1;
    if (bridge_host->run(call, batch, err) < 0)
        return error_wrap(err, "network/bridge needs ip (iproute2), nft (nftables) and CAP_NET_ADMIN");
    if (bridge_host->result(batch, stat_at)->status != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "network/bridge: the host has no /dev/net/tun; network/user does without");
    return b->has_netns ? netns_try(b, call, err) : 0;
}
