/* Ports that are no longer what they were made: off the bridge since that was lost, or with a MAC address that their VMM gave
 * them, by which the bridge sends another guest's frames there. */
#include <string.h>

#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"

struct scripts { /* for ip, for bridge, and for ip again */
    struct str links, ports, neighbours;
};

static const struct runner_nic *victim_of(const struct owners *o, const struct runner_nic *forger, const char *mac)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->list[i] != forger && strcmp(o->list[i]->mac, mac) == 0)
            return o->list[i];
    return NULL;
}

static void warn(const struct bridge *b, struct runner_call *call, const char *event, const struct runner_nic *nic)
{
    const struct runner_field fields[] = {{"bridge", b->name}, {"interface", nic->name}};

    bridge_host->log(call, RUNNER_LOG_WARN, event, fields, ARRAY_LEN(fields));
}

/* As TAP_ADD made it. The rules are there before: nothing passes that may not while its flags are not. */
static void join(const struct bridge *b, const struct runner_nic *nic, const char *bridge, struct scripts *to)
{
    str_addf(&to->links, "link set dev %s master %s group %u up\n", nic->name, bridge, b->group);
    str_addf(&to->ports, "link set dev %s isolated %s locked on learning off flood off mcast_flood %s bcast_flood %s\n",
             nic->name, b->is_isolating ? "on" : "off", b->is_isolating ? "off" : "on", b->is_isolating ? "off" : "on");
    str_addf(&to->ports, "fdb replace %s dev %s master static\n", nic->mac, nic->name);
}

/* Its own end gets an address that no guest has, and the other guest its entry again. */
static void expose(const struct runner_nic *forger, const struct runner_nic *victim, struct scripts *to)
{
    unsigned hash = (unsigned)bridge_hash(forger->name);

    str_addf(&to->links, "link set dev %s address fe:72:%02x:%02x:%02x:%02x\n", forger->name, hash >> 24 & 0xff,
             hash >> 16 & 0xff, hash >> 8 & 0xff, hash & 0xff);
    str_addf(&to->ports, "fdb replace %s dev %s master static\n", victim->mac, victim->name);
}

static int add_script(struct runner_batch *batch, const char *program, const struct str *script,
                      struct runner_error *err)
{
    const char *const argv[] = {program, "-force", "-batch", "-", NULL}; /* one may have gone meanwhile */
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .flags = RUNNER_S_ANY_STATUS,
                                     .argv = argv,
                                     .data = script->ptr,
                                     .len = script->len};

    return script->len == 0 || bridge_host->add(batch, &step, err) >= 0 ? 0 : -1;
}

static int run(struct runner_call *call, const struct scripts *s, struct runner_error *err)
{
    struct runner_batch *batch = bridge_host->batch_new(call);
    int r = -1;

    if (add_script(batch, "ip", &s->links, err) == 0 && add_script(batch, "bridge", &s->ports, err) == 0 &&
        add_script(batch, "ip", &s->neighbours, err) == 0)
        r = bridge_host->run(call, batch, err);
    bridge_host->batch_free(batch);
    return r;
}

/* Whether there is an interface of the name that is on none of the bridges. */
static int look_for(struct runner_call *call, const struct owners *owners, const struct ports *ports, bool *ret_lost,
                    struct runner_error *err)
{
    struct runner_batch *batch = bridge_host->batch_new(call);
    int *at = mem_array(owners->n + 1, sizeof *at);
    int r = 0;

    for (size_t i = 0; i < owners->n && r == 0; i++) {
        at[i] = -1;
        if (ports_find(ports, owners->list[i]->name) != NULL)
            continue;
        at[i] = ports_ask_for(owners->list[i]->name, batch, err);
        r = at[i] < 0 ? -1 : 0;
    }
    if (r == 0)
        r = bridge_host->run(call, batch, err);
    for (size_t i = 0; i < owners->n && r == 0; i++)
        ret_lost[i] = at[i] >= 0 && bridge_host->result(batch, at[i])->status == 0;
    bridge_host->batch_free(batch);
    free(at);
    return r;
}

/* The host knows its guest. A bridge that was down has forgotten that, and nobody can be asked: ports are not flooded. */
static void know(const struct runner_nic *nic, const char *bridge, bool is_routed, struct scripts *to)
{
    str_addf(&to->neighbours, "neigh replace %s lladdr %s dev %s nud permanent\n", nic->address, nic->mac, bridge);
    if (is_routed)
        str_addf(&to->neighbours, "route replace %s/32 dev %s scope link proto %d\n", nic->address, bridge,
                 RUNNER_ROUTE_PROTOCOL);
}

static void put_right(struct bridge *b, struct runner_call *call, const struct owners *owners, size_t i,
                      const struct port *port, struct scripts *to)
{
    const struct runner_nic *nic = owners->list[i], *victim;
    unsigned bridge = port != NULL ? (unsigned)port->bridge : names_place_again(b->names, nic->name);
    const bool is_routed = (names_bridges(b->names) & ~UINT64_C(1)) != 0;
    char name[IFNAME_SIZE];

    bridges_name(b, bridge, name);
    know(nic, name, is_routed, to);
    if (port == NULL) {
        warn(b, call, "network.port_rejoined", nic);
        join(b, nic, name, to);
    }
    victim = port != NULL ? victim_of(owners, nic, port->mac) : NULL;
    if (victim != NULL) {
        warn(b, call, "network.mac_forged", nic);
        expose(nic, victim, to);
    }
}

int rejoin_run(struct bridge *b, struct runner_call *call, const struct owners *owners, struct runner_error *err)
{
    struct scripts s = {STR_INIT, STR_INIT, STR_INIT};
    struct ports ports;
    auto_free bool *is_lost = mem_array(owners->n + 1, sizeof *is_lost);
    int r;

    if (ports_read(b, call, NULL, &ports, err) < 0)
        return -1;
    r = look_for(call, owners, &ports, is_lost, err);
    for (size_t i = 0; i < owners->n && r == 0; i++) {
        const struct port *port = ports_find(&ports, owners->list[i]->name);

        if (port == NULL && is_lost[i])
            r = bridges_grow(b, call, err);
        if (r == 0 && (port != NULL || is_lost[i]))
            put_right(b, call, owners, i, port, &s);
    }
    if (r == 0)
        r = run(call, &s, err);
    ports_done(&ports);
    str_done(&s.links);
    str_done(&s.ports);
    str_done(&s.neighbours);
    return r < 0 ? error_wrap(err, "ports of guests") : 0;
}
