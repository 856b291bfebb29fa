/* Ports that are no longer what they were made: off the bridge since that was lost, or with a MAC address that their VMM gave
 * them, by which the bridge sends another guest's frames there. */
#include <string.h>

#include "core/util/json.h"
#include "plugins/network/bridge/bridge.h"

struct scripts { /* for ip, for bridge, and for ip again */
    struct str links, ports, neighbours;
};

static const struct runner_nic *owner_of(const struct runner_nic *const *owned, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (owned[i]->kind == RUNNER_NIC_TAP && strcmp(owned[i]->name, name) == 0)
            return owned[i];
    return NULL;
}

static const struct runner_nic *victim_of(const struct runner_nic *const *owned, size_t n,
                                          const struct runner_nic *forger, const char *mac)
{
    for (size_t i = 0; i < n; i++)
        if (owned[i] != forger && owned[i]->kind == RUNNER_NIC_TAP && strcmp(owned[i]->mac, mac) == 0)
            return owned[i];
    return NULL;
}

static void warn(const struct bridge *b, struct runner_call *call, const char *event, const struct runner_nic *nic)
{
    const struct runner_field fields[] = {{"bridge", b->name}, {"interface", nic->name}};

    bridge_host->log(call, RUNNER_LOG_WARN, event, fields, ARRAY_LEN(fields));
}

/* As TAP_ADD made it. The rules are there before: nothing passes that may not while its flags are not. */
static void join(const struct bridge *b, const struct runner_nic *nic, struct scripts *to)
{
    str_addf(&to->links, "link set dev %s master %s group %u up\n", nic->name, b->name, b->group);
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

int rejoin_run(const struct bridge *b, struct runner_call *call, const struct json *links,
               const struct runner_nic *const *owned, size_t n, struct runner_error *err)
{
    struct scripts s = {STR_INIT, STR_INIT, STR_INIT};
    int r = 0;

    for (const struct json *link = links->first; link != NULL; link = link->next) {
        const struct runner_nic *nic = owner_of(owned, n, json_text(link, "ifname", ""));
        const struct runner_nic *victim;

        if (nic == NULL)
            continue;
        /* A bridge that was down has forgotten them, and nobody can be asked: ports are not flooded. */
        str_addf(&s.neighbours, "neigh replace %s lladdr %s dev %s nud permanent\n", nic->address, nic->mac, b->name);
        if (strcmp(json_text(link, "master", ""), b->name) != 0) {
            warn(b, call, "network.port_rejoined", nic);
            join(b, nic, &s);
        }
        victim = victim_of(owned, n, nic, json_text(link, "address", ""));
        if (victim != NULL) {
            warn(b, call, "network.mac_forged", nic);
            expose(nic, victim, &s);
        }
    }
    if (s.neighbours.len > 0)
        r = run(call, &s, err);
    str_done(&s.links);
    str_done(&s.ports);
    str_done(&s.neighbours);
    return r < 0 ? error_wrap(err, "ports of guests") : 0;
}
