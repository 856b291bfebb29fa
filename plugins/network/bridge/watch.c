/* Whether what setup made is still there, and whether ports are what they were made: looked at again and again, since others
 * change hosts too, and a VMM that was taken over may change its TAP. What is found is put right by setup and sweep. */
#include <netinet/ether.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/nft.h"
#include "plugins/network/bridge/setup.h"

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

#define STATE_MAX 200 /* bytes of what runner-dns says of itself */

static const char *const families[] = {"bridge", "inet"};

struct guest_port {
    char name[IFNAME_SIZE];
    uint8_t mac[6]; /* of its guest */
};

struct watch {
    const struct bridge *b;
    struct runner_call *call;
    watch_say_fn *say;
    void *ctx;
    struct guest_port *ports; /* that the rules know, sorted by name */
    size_t n_ports;
    uint64_t bridges;
    struct {
        int link[BRIDGES_MAX], address[BRIDGES_MAX], forwarding[BRIDGES_MAX];
        int route, rules[ARRAY_LEN(families)], set, ports, alive, state;
    } at; /* steps; -1: not asked */
};

static void say(const struct watch *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct watch *w, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    w->say(w->ctx, text);
}

static int add_run(struct runner_batch *batch, const char *const *argv, struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, .argv = argv};

    return bridge_host->add(batch, &step, err);
}
#define ADD_RUN(batch, err, ...) add_run(batch, (const char *const[]){__VA_ARGS__, NULL}, err)

/* ---- questions -------------------------------------------------------------------------------------------------- */

static int ask_forwarder(struct watch *w, struct runner_batch *batch, struct runner_error *err)
{
    auto_free char *pid = allowed_path(w->b, w->call, ".pid"), *state = allowed_path(w->b, w->call, ".state");
    const struct runner_step alive = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = pid};
    const struct runner_step read = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_READ,
                                     .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                                     .path = state,
                                     .number = STATE_MAX};

    w->at.alive = w->at.state = -1;
    if (!w->b->has_forwarder)
        return 0;
    w->at.alive = bridge_host->add(batch, &alive, err);
    w->at.state = w->at.alive < 0 ? -1 : bridge_host->add(batch, &read, err);
    return w->at.state < 0 ? -1 : 0;
}

static int ask_rules(struct watch *w, struct runner_batch *batch, struct runner_error *err)
{
    auto_str struct str table = STR_INIT, bridges = STR_INIT;
    struct nft t;

    rules_table(w->b, &table);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        auto_str struct str script = STR_INIT;
        char mark[32];

        rules_script(w->b, families[i], &script, mark);
        w->at.rules[i] = ADD_RUN(batch, err, "nft", "list", "chain", families[i], str_text(&table), mark);
        if (w->at.rules[i] < 0)
            return -1;
    }
    str_add(&bridges, "{ \"");
    bridges_list(w->b, "\", \"", &bridges);
    str_add(&bridges, "\" }");
    w->at.set =
        ADD_RUN(batch, err, "nft", "get", "element", "inet", str_text(&table), RULES_BRIDGES, str_text(&bridges));
    if (w->at.set < 0)
        return -1;
    nft_ask_begin(&t, w->b);
    nft_ask_elements(&t, "omac");
    w->at.ports = nft_ask_end(&t, RUNNER_S_OPTIONAL, batch, err);
    return w->at.ports < 0 ? -1 : 0;
}

static int ask_bridge(struct watch *w, unsigned bridge, struct runner_batch *batch, struct runner_error *err)
{
    auto_free char *forwarding = NULL;
    char name[IFNAME_SIZE];

    w->at.link[bridge] = w->at.address[bridge] = w->at.forwarding[bridge] = -1;
    if (!places_has(w->bridges, bridge))
        return 0;
    bridges_name(w->b, bridge, name);
    forwarding = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", name);
    w->at.link[bridge] = ADD_RUN(batch, err, "ip", "-j", "-d", "link", "show", "dev", name);
    w->at.address[bridge] = ADD_RUN(batch, err, "ip", "-j", "-4", "addr", "show", "dev", name);
    w->at.forwarding[bridge] = ADD_RUN(batch, err, "cat", forwarding);
    return w->at.link[bridge] < 0 || w->at.address[bridge] < 0 || w->at.forwarding[bridge] < 0 ? -1 : 0;
}

static int ask(struct watch *w, struct runner_batch *batch, struct runner_error *err)
{
    for (unsigned i = 0; i < BRIDGES_MAX; i++)
        if (ask_bridge(w, i, batch, err) < 0)
            return -1;
    w->at.route = ADD_RUN(batch, err, "ip", "-j", "-4", "route", "show", "default");
    if (w->at.route < 0 || ask_rules(w, batch, err) < 0 || ask_forwarder(w, batch, err) < 0)
        return -1;
    return bridge_host->run(w->call, batch, err);
}

static int answer(const struct runner_batch *batch, int at, struct json **ret, struct runner_error *err)
{
    const struct runner_result *result = bridge_host->result(batch, at);

    *ret = NULL;
    return result->status == 0 && result->len > 0 ? json_parse(result->out, result->len, ret, err) : 0;
}

/* ---- the bridge ------------------------------------------------------------------------------------------------- */

static bool has_address(const struct bridge *b, const struct json *list, uint32_t prefix_len)
{
    const struct json *all = list != NULL ? json_get(list->first, "addr_info") : NULL;

    for (const struct json *a = all != NULL ? all->first : NULL; a != NULL; a = a->next)
        if (strcmp(json_text(a, "local", ""), b->address) == 0 && json_int(a, "prefixlen", 0) == prefix_len)
            return true;
    return false;
}

static bool is_up(const struct json *link)
{
    const struct json *flags = json_get(link, "flags");

    for (const struct json *f = flags != NULL ? flags->first : NULL; f != NULL; f = f->next)
        if (f->type == JSON_STRING && strcmp(f->text, "UP") == 0)
            return true;
    return false;
}

static int look_at_bridge(struct watch *w, const struct runner_batch *batch, unsigned bridge, struct runner_error *err)
{
    auto_json struct json *links = NULL, *addresses = NULL;
    const uint32_t prefix_len = bridge == 0 ? w->b->prefix_len : 32;
    const struct json *link;
    char name[IFNAME_SIZE];

    bridges_name(w->b, bridge, name);
    if (answer(batch, w->at.link[bridge], &links, err) < 0 || answer(batch, w->at.address[bridge], &addresses, err) < 0)
        return -1;
    link = links != NULL ? links->first : NULL;
    if (link == NULL)
        say(w, "the bridge %s is gone", name);
    else if (!is_up(link))
        say(w, "the bridge %s is down", name);
    else if (!has_address(w->b, addresses, prefix_len))
        say(w, "the bridge %s has no more the address %s/%u", name, w->b->address, prefix_len);
    return 0;
}

static int look_at_bridges(struct watch *w, const struct runner_batch *batch, struct runner_error *err)
{
    for (unsigned i = 0; i < BRIDGES_MAX; i++)
        if (places_has(w->bridges, i) && look_at_bridge(w, batch, i, err) < 0)
            return -1;
    return 0;
}

/* An answer that is not there is of an interface that is not. */
static void look_at_forwarding_of(struct watch *w, const struct runner_batch *batch, int at, const char *name)
{
    const struct runner_result *result = bridge_host->result(batch, at);

    if (result->status == 0 && result->len > 0 && result->out[0] == '0')
        say(w, "IPv4 forwarding of %s is off", name);
}

static int look_at_forwarding(struct watch *w, const struct runner_batch *batch, struct runner_error *err)
{
    auto_batch struct runner_batch *second = bridge_host->batch_new(w->call);
    auto_json struct json *routes = NULL;
    auto_free char *up = NULL;
    char uplink[IFNAME_SIZE];
    int at;

    if (answer(batch, w->at.route, &routes, err) < 0)
        return -1;
    setup_uplink(w->b, routes, uplink);
    if (uplink[0] == '\0')
        return 0;
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];

        bridges_name(w->b, i, name);
        if (places_has(w->bridges, i))
            look_at_forwarding_of(w, batch, w->at.forwarding[i], name);
    }
    up = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", uplink);
    at = ADD_RUN(second, err, "cat", up);
    if (at < 0 || bridge_host->run(w->call, second, err) < 0)
        return -1;
    look_at_forwarding_of(w, second, at, uplink);
    return 0;
}

/* Where there is no way to the outside nobody is in the way; who was there before the runner is meant to be. */
static int look_at_others(struct watch *w, struct runner_error *err)
{
    struct firewall found;

    if (strcmp(w->b->uplink, "none") == 0 || w->b->had_firewall)
        return 0;
    if (firewall_find(w->b, w->call, &found, err) < 0)
        return -1;
    if (found.chain[0] != '\0')
        say(w, "the chain '%s' of table '%s %s', which is not ours, drops what guests send to the outside", found.chain,
            found.family, found.table);
    return 0;
}

static void look_at_rules(struct watch *w, const struct runner_batch *batch)
{
    auto_str struct str table = STR_INIT;

    rules_table(w->b, &table);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (bridge_host->result(batch, w->at.rules[i])->status != 0 ||
            (strcmp(families[i], "inet") == 0 && bridge_host->result(batch, w->at.set)->status != 0))
            say(w, "the rules of table '%s %s' are not there", families[i], str_text(&table));
}

/* ---- ports ------------------------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct guest_port *)a)->name, ((const struct guest_port *)b)->name);
}

static void keep_port(void *ctx, const struct nft_found *found)
{
    struct watch *w = ctx;
    struct guest_port *port;

    if (found->key == NULL || found->len < OMAC_KEY)
        return;
    w->ports = mem_grow(w->ports, w->n_ports + 1, sizeof *w->ports);
    port = &w->ports[w->n_ports++];
    memcpy(port->name, found->key, PORT_KEY);
    port->name[IFNAME_SIZE - 1] = '\0';
    memcpy(port->mac, found->key + PORT_KEY, sizeof port->mac);
}

/* Whose guest has this address, other than the port's own; NULL: nobody's. */
static const struct guest_port *victim_of(const struct watch *w, const char *port, const char *address)
{
    struct ether_addr mac;

    if (ether_aton_r(address, &mac) == NULL)
        return NULL;
    for (size_t i = 0; i < w->n_ports; i++)
        if (memcmp(w->ports[i].mac, mac.ether_addr_octet, sizeof w->ports[i].mac) == 0 &&
            strcmp(w->ports[i].name, port) != 0)
            return &w->ports[i];
    return NULL;
}

/* Those that are there, and on none of the bridges. */
static int count_lost(const struct watch *w, const struct ports *there, size_t *ret, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(w->call);
    size_t n = 0;

    *ret = 0;
    for (size_t i = 0; i < w->n_ports; i++) {
        if (ports_find(there, w->ports[i].name) != NULL)
            continue;
        if (ports_ask_for(w->ports[i].name, batch, err) < 0)
            return -1;
        n++;
    }
    if (n == 0)
        return 0;
    if (bridge_host->run(w->call, batch, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        *ret += bridge_host->result(batch, (int)i)->status == 0;
    return 0;
}

static void look_at_macs(struct watch *w, const struct ports *there)
{
    for (size_t i = 0; i < there->n && w->n_ports > 0; i++) {
        const struct port *port = &there->list[i];
        struct guest_port wanted = {.name = ""};
        const struct guest_port *victim;

        memcpy(wanted.name, port->name, sizeof wanted.name);
        if (bsearch(&wanted, w->ports, w->n_ports, sizeof wanted, compare) == NULL)
            continue;
        victim = victim_of(w, port->name, port->mac);
        if (victim != NULL)
            say(w, "the VMM of %s has given it the MAC address of the guest behind %s", port->name, victim->name);
    }
}

/* The rules were asked before: a port that is new meanwhile is on its bridge. */
static int look_at_ports(struct watch *w, const struct runner_batch *batch, struct runner_error *err)
{
    struct ports there;
    size_t n_lost = 0;
    int r;

    nft_each(w->b, bridge_host->result(batch, w->at.ports), keep_port, w);
    if (w->n_ports > 0)
        qsort(w->ports, w->n_ports, sizeof *w->ports, compare);
    if (ports_read(w->b, w->call, NULL, &there, err) < 0)
        return -1;
    bridges_count(w->b, &there);
    look_at_macs(w, &there);
    r = count_lost(w, &there, &n_lost, err);
    if (n_lost > 0)
        say(w, "%zu interfaces of guests are not on the bridge %s", n_lost, w->b->name);
    ports_done(&there);
    return r;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static void look_at_forwarder(struct watch *w, const struct runner_batch *batch)
{
    const struct runner_result *state;
    auto_free char *text = NULL;

    if (w->at.alive < 0)
        return;
    if (bridge_host->result(batch, w->at.alive)->status != 0) {
        say(w, "runner-dns has ended: no names are resolved");
        return;
    }
    state = bridge_host->result(batch, w->at.state);
    if (state->status != 0 || state->len == 0 || text_starts(state->out, "serving", NULL))
        return;
    text = mem_dup_n(state->out, strcspn(state->out, "\n"));
    say(w, "no names are resolved: runner-dns is %s (its log: network/%s.log)", text, w->b->name);
}

int watch_look(const struct bridge *b, struct runner_call *call, watch_say_fn *fn, void *ctx, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    struct watch w = {.b = b, .call = call, .say = fn, .ctx = ctx, .bridges = names_bridges(b->names)};
    int r = ask(&w, batch, err);

    if (r == 0)
        r = look_at_bridges(&w, batch, err);
    if (r == 0)
        look_at_rules(&w, batch);
    if (r == 0)
        r = look_at_forwarding(&w, batch, err);
    if (r == 0)
        r = look_at_ports(&w, batch, err);
    if (r == 0)
        look_at_forwarder(&w, batch);
    if (r == 0)
        r = look_at_others(&w, err);
    free(w.ports);
    return r;
}

static void keep_problem(void *ctx, const char *problem)
{
    struct str *all = ctx;

    str_addf(all, "%s%s", all->len > 0 ? "; " : "", problem);
}

int watch_check(const struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    auto_str struct str problems = STR_INIT;

    if (watch_look(b, call, keep_problem, &problems, err) < 0)
        return error_wrap(err, "network/bridge");
    return problems.len == 0 ? 0 : fail(err, RUNNER_E_IO, 0, "network/bridge: %s", str_text(&problems));
}
