/* Removal of what no record owns, after a crash. */
#include <stdlib.h>
#include <string.h>

#include "core/util/text.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/shaper.h"

static int compare(const void *a, const void *b)
{
    return strcmp((*(const struct runner_nic *const *)a)->name, (*(const struct runner_nic *const *)b)->name);
}

/* Those that have an interface, by its name; the caller frees. */
static struct owners sort_owners(const struct runner_nic *const *owned, size_t n)
{
    struct owners o = {mem_array(n + 1, sizeof *o.list), 0};

    for (size_t i = 0; i < n; i++)
        if (owned[i]->kind == RUNNER_NIC_TAP && owned[i]->name[0] != '\0')
            o.list[o.n++] = owned[i];
    qsort(o.list, o.n, sizeof *o.list, compare);
    return o;
}

const struct runner_nic *owners_find(const struct owners *o, const char *name)
{
    struct runner_nic wanted = {.size = 0};
    const struct runner_nic *key = &wanted, *const * found;

    (void)snprintf(wanted.name, sizeof wanted.name, "%s", name);
    found = bsearch(&key, o->list, o->n, sizeof *o->list, compare);
    return found != NULL ? *found : NULL;
}

enum found { FOUND_KEPT, FOUND_SPARE, FOUND_ORPHAN };

/* Ours and nobody's: a port of our bridges with a name we give, or an idle one, which is down, beyond the pool's size. */
static enum found judge(const struct bridge *b, const struct port *port, const struct owners *owners)
{
    const bool is_idle = !port->is_up && names_is_number(b->names, port->name);

    if (text_starts(port->name, "tapd-", NULL)) /* on its way when the runner was killed */
        return FOUND_SPARE;
    if (!text_starts(port->name, "tap-", NULL) || (port->bridge < 0 && !is_idle) ||
        owners_find(owners, port->name) != NULL || names_is_reserved(b->names, port->name))
        return FOUND_KEPT;
    if (!is_idle)
        return FOUND_ORPHAN;
    /* One that is on no bridge joins the first. */
    return names_found_idle(b->names, port->name, port->bridge < 0 ? 0 : (unsigned)port->bridge) ? FOUND_KEPT
                                                                                                 : FOUND_SPARE;
}

static int add_removal(const struct bridge *b, struct runner_call *call, struct runner_batch *batch, const char *name,
                       enum found found, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    struct runner_field fields[] = {{"bridge", b->name}, {"interface", name}};

    if (found == FOUND_ORPHAN)
        bridge_host->log(call, RUNNER_LOG_WARN, "network.orphan_removed", fields, ARRAY_LEN(fields));
    return bridge_host->add(batch, &step, err);
}

/* type: "tun", or "veth": the ports of sandboxes in namespaces. */
static int sweep_ports(const struct bridge *b, struct runner_call *call, const char *type, const struct owners *owners,
                       struct runner_error *err)
{
    struct ports ports;
    struct runner_batch *batch;
    size_t n_removed = 0;
    int r = 0;

    if (ports_read(b, call, type, &ports, err) < 0)
        return -1;
    batch = bridge_host->batch_new(call);
    for (size_t i = 0; i < ports.n && r >= 0; i++) {
        enum found found = judge(b, &ports.list[i], owners);

        if (found == FOUND_KEPT)
            continue;
        r = add_removal(b, call, batch, ports.list[i].name, found, err);
        n_removed++;
    }
    if (r >= 0)
        r = n_removed > 0 ? bridge_host->run(call, batch, err) : 0;
    bridge_host->batch_free(batch);
    ports_done(&ports);
    return r;
}

int sweep_run(struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
              struct runner_error *err)
{
    struct owners owners = sort_owners(owned, n);
    int r = sweep_ports(b, call, "tun", &owners, err);

    if (r == 0)
        r = sweep_ports(b, call, "veth", &owners, err);
    if (r < 0)
        (void)error_wrap(err, "removal of orphaned TAPs");
    else
        r = rejoin_run(b, call, &owners, err);
    free(owners.list);
    if (r < 0)
        return -1;
    names_swept(b->names);
    if (reconcile_rules(b, call, owned, n, err) < 0 || reconcile_addresses(b, call, owned, n, err) < 0 ||
        shaper_sweep(b, call, owned, n, err) < 0)
        return -1;
    return allowed_sweep(b, call, owned, n, err);
}
