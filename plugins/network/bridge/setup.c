#include "plugins/network/bridge/setup.h"

#include <string.h>

#include "core/util/json.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/netns.h"

#define ALIAS       "runner-ch"
#define ADDRESS_SET '3' /* NET_ADDR_SET, as sysfs says it */
#define NEIGH_RETRY_MS                                                                                                 \
    "100" /* how often an address that does not answer is asked for: a guest just booted is met soon */

static const char *const families[] = {"bridge", "inet"};

struct found {             /* one bridge */
    bool is_there, is_set; /* is_set: its hardware address was, and not chosen by the kernel */
    char mac[18];
};

struct state { /* of the host, as found */
    struct found bridges[BRIDGES_MAX];
    bool has_rules[ARRAY_LEN(families)];
    char uplink[IFNAME_SIZE]; /* "": none */
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

static int read_bridge(const struct bridge *b, const struct json *links, bool is_chosen, struct found *ret,
                       struct runner_error *err)
{
    const struct json *link = links != NULL ? links->first : NULL;

    if (link != NULL && strcmp(json_text(json_get(link, "linkinfo"), "info_kind", ""), "bridge") != 0)
        return fail(err, RUNNER_E_EXISTS, 0, "interface '%s' exists and is no bridge", b->name);
    *ret = (struct found){.is_there = link != NULL, .is_set = !is_chosen};
    (void)snprintf(ret->mac, sizeof ret->mac, "%s", json_text(link, "address", ""));
    return 0;
}

/* The others, which are of our making. */
static void read_bridges(const struct bridge *b, const struct json *links, struct found ret[BRIDGES_MAX])
{
    for (const struct json *link = links != NULL ? links->first : NULL; link != NULL; link = link->next)
        for (unsigned i = 1; i < b->bridges_max; i++) {
            char name[IFNAME_SIZE];

            bridges_name(b, i, name);
            if (strcmp(json_text(link, "ifname", ""), name) != 0)
                continue;
            ret[i] = (struct found){.is_there = true, .is_set = true};
            (void)snprintf(ret[i].mac, sizeof ret[i].mac, "%s", json_text(link, "address", ""));
        }
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
    auto_json struct json *links = NULL, *routes = NULL, *bridges = NULL;
    auto_str struct str table = STR_INIT;
    auto_free char *assigned = mem_printf("/sys/class/net/%s/addr_assign_type", b->name);
    const struct runner_step read = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_READ,
                                     .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                                     .path = assigned,
                                     .number = 16};
    const struct runner_result *type;
    int link_at, route_at, type_at, bridges_at, rules_at[ARRAY_LEN(families)];

    rules_table(b, &table);
    link_at = ADD_RUN(batch, NULL, RUNNER_S_ANY_STATUS, err, "ip", "-j", "-d", "link", "show", "dev", b->name);
    bridges_at = ADD_RUN(batch, NULL, RUNNER_S_ANY_STATUS, err, "ip", "-j", "link", "show", "type", "bridge");
    route_at = ADD_RUN(batch, NULL, 0, err, "ip", "-j", "-4", "route", "show", "default");
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        rules_at[i] = ADD_RUN(batch, NULL, RUNNER_S_ANY_STATUS, err, "nft", "list", "chain", families[i],
                              str_text(&table), marks[i]);
        if (rules_at[i] < 0)
            return -1;
    }
    type_at = bridge_host->add(batch, &read, err);
    if (link_at < 0 || bridges_at < 0 || route_at < 0 || type_at < 0 || bridge_host->run(call, batch, err) < 0)
        return -1;
    type = bridge_host->result(batch, type_at);
    if (parse_output(batch, link_at, "ip link", &links, err) < 0 ||
        parse_output(batch, bridges_at, "ip link", &bridges, err) < 0 ||
        parse_output(batch, route_at, "ip route", &routes, err) < 0 ||
        read_bridge(b, links, type->len > 0 && type->out[0] != ADDRESS_SET, &ret->bridges[0], err) < 0)
        return -1;
    read_bridges(b, bridges, ret->bridges);
    bridges_found(b, bridges);
    setup_uplink(b, routes, ret->uplink);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        ret->has_rules[i] = bridge_host->result(batch, rules_at[i])->status == 0;
    return 0;
}

/* ---- what is made ----------------------------------------------------------------------------------------------- */

/* The rules first: there is no moment at which a guest could pass without them. Those of the inet table are about the
 * bridges that a set of it names. */
static int add_rules(const struct bridge *b, const struct state *state, uint64_t wanted, struct runner_batch *batch,
                     struct runner_error *err)
{
    auto_str struct str script = STR_INIT, table = STR_INIT;
    char ignored[32];

    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (!state->has_rules[i])
            rules_script(b, families[i], &script, ignored);
    rules_table(b, &table);
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];

        bridges_name(b, i, name);
        if (places_has(wanted, i))
            str_addf(&script, "add element inet %s " RULES_BRIDGES " { \"%s\" }\n", str_text(&table), name);
    }
    return ADD_RUN(batch, str_text(&script), 0, err, "nft", "-f", "-") < 0 ? -1 : 0;
}

/* Of the gateway, on each bridge. One that was there before has its own, which is set, too: else it is the lowest of its
 * ports', which VMMs can change. To set it makes the kernel forget its neighbours, so that is not done again. */
static void add_mac(const struct bridge *b, const struct state *state, unsigned bridge, const char *name,
                    struct str *script)
{
    const struct found *first = &state->bridges[0], *found = &state->bridges[bridge];
    const char *mac = first->is_there ? first->mac : b->mac;

    if (found->is_there && (strcmp(found->mac, mac) != 0 || !found->is_set))
        str_addf(script, "link set dev %s address %s\n", name, mac);
}

/* A bridge that was there before keeps its own settings; it gets the address and is put up. */
static int add_bridge(const struct bridge *b, const struct state *state, unsigned bridge, const char *name,
                      struct runner_batch *batch, struct runner_error *err)
{
    auto_str struct str make = STR_INIT, use = STR_INIT;
    auto_free char *ipv6 = mem_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    const struct found *first = &state->bridges[0];

    str_addf(&make, "link add name %s address %s group %u type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n",
             name, first->is_there ? first->mac : b->mac, b->group); /* else it takes a port's address */
    str_addf(&make, "link set dev %s alias " ALIAS "\n", name);
    if (!state->bridges[bridge].is_there && ADD_RUN(batch, str_text(&make), 0, err, "ip", "-batch", "-") < 0)
        return -1;
    /* Before it is up; a host without IPv6 has no such file. */
    if (ADD_RUN(batch, "1\n", RUNNER_S_ANY_STATUS, err, "tee", ipv6) < 0)
        return -1;
    if (b->mtu > 0)
        str_addf(&use, "link set dev %s mtu %lld\n", name, (long long)b->mtu);
    add_mac(b, state, bridge, name, &use);
    str_addf(&use, "addr replace %s/%u dev %s\n", b->address, bridge == 0 ? b->prefix_len : 32, name);
    str_addf(&use, "link set dev %s up\n", name);
    return ADD_RUN(batch, str_text(&use), 0, err, "ip", "-batch", "-");
}

/* Forwarding goes by the device a packet comes in at: these and the uplink, not every interface of the host. */
static int add_settings(const struct state *state, const char *name, struct runner_batch *batch,
                        struct runner_error *err)
{
    auto_free char *bridge = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", name);
    auto_free char *uplink = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", state->uplink);
    auto_free char *accept = mem_printf("/proc/sys/net/ipv4/conf/%s/accept_redirects", name);
    auto_free char *source = mem_printf("/proc/sys/net/ipv4/conf/%s/accept_source_route", name);
    auto_free char *send = mem_printf("/proc/sys/net/ipv4/conf/%s/send_redirects", name);
    auto_free char *retry = mem_printf("/proc/sys/net/ipv4/neigh/%s/retrans_time_ms", name);

    if (state->uplink[0] != '\0' && ADD_RUN(batch, "1\n", 0, err, "tee", bridge, uplink) < 0)
        return -1;
    /* Source routes: a packet that says its next hop within goes there from the gateway, which every guest may speak to. */
    if (ADD_RUN(batch, "0\n", 0, err, "tee", accept, source, send) < 0)
        return -1;
    return ADD_RUN(batch, NEIGH_RETRY_MS "\n", 0, err, "tee", retry);
}

static int add_bridges(const struct bridge *b, const struct state *state, uint64_t wanted, struct runner_batch *batch,
                       struct runner_error *err)
{
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];

        bridges_name(b, i, name);
        if (places_has(wanted, i) &&
            (add_bridge(b, state, i, name, batch, err) < 0 || add_settings(state, name, batch, err) < 0))
            return -1;
    }
    return 0;
}

static void log_setup(const struct bridge *b, struct runner_call *call, const struct state *state, uint64_t wanted)
{
    auto_free char *number = mem_printf("%d", __builtin_popcountll(wanted));
    struct runner_field fields[] = {
        {"bridge", b->name},
        {"made", state->bridges[0].is_there ? "no" : "yes"},
        {"bridges", number},
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

static int make(struct bridge *b, struct runner_call *call, const struct state *state, uint64_t wanted,
                struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);

    if (add_rules(b, state, wanted, batch, err) < 0 || add_bridges(b, state, wanted, batch, err) < 0 ||
        (b->has_forwarder ? allowed_start : allowed_stop)(b, call, batch, err) < 0)
        return -1;
    return bridge_host->run(call, batch, err);
}

int setup_run(struct bridge *b, struct runner_call *call, uint64_t more, struct runner_error *err)
{
    struct state state = {0};
    struct ports ports;
    char marks[ARRAY_LEN(families)][32];
    uint64_t wanted;
    bool had_firewall;

    if (find_forwarder(b, call, err) < 0)
        return error_wrap(err, "network/bridge");
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        auto_str struct str script = STR_INIT;
        rules_script(b, families[i], &script, marks[i]);
    }
    if (look(b, call, marks, &state, err) < 0)
        return error_wrap(err, "network/bridge");
    wanted = names_bridges(b->names) | more;
    if (make(b, call, &state, wanted, err) < 0)
        return error_wrap(err, "network/bridge: set up '%s'", b->name);
    b->has_mac = !state.bridges[0].is_there || strcmp(state.bridges[0].mac, b->mac) == 0;
    for (unsigned i = 1; i < BRIDGES_MAX; i++)
        if (places_has(wanted, i))
            names_add_bridge(b->names, i);
    log_setup(b, call, &state, wanted);
    if (ports_read(b, call, NULL, &ports, err) < 0)
        return error_wrap(err, "network/bridge");
    bridges_count(b, &ports);
    ports_done(&ports);
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
