#include "core/view-capacity.h"

#include <inttypes.h>

#include "core/util/json.h"

/* Addresses are counted by the ipam, all else by core. */
enum { ADDRESSES = RESOURCES, ROWS };

struct row {
    int64_t allocated, limit, has; /* limit: CAPACITY_UNLIMITED; has: 0 */
};

static const struct {
    const char *name, *metric, *help;
} kinds[ROWS] = {
    [RESOURCE_SANDBOXES] = {"sandboxes", "sandboxes", "Sandboxes"},
    [RESOURCE_CPUS] = {"cpus", "cpus", "vCPUs of sandboxes that are not stopped"},
    [RESOURCE_MEMORY] = {"memory", "memory_bytes", "Memory of sandboxes that are not stopped"},
    [RESOURCE_DISK] = {"disk", "disk_bytes", "Disks of sandboxes, at their full size"},
    [ADDRESSES] = {"addresses", "addresses", "Addresses of sandboxes"},
};

static struct capacity copy_capacity(struct engine *engine, const struct host *host)
{
    struct capacity capacity;

    index_lock(engine->index);
    capacity = host->capacity;
    index_unlock(engine->index);
    return capacity;
}

static bool has_ipam(const struct host *host)
{
    return host->instances[RUNNER_IPAM] != NULL &&
           !(host_plugin(host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_OWN_ADDRESS);
}

static void count_addresses(struct host *host, struct row *ret)
{
    struct instance *ipam = host->instances[RUNNER_IPAM];
    uint64_t n_free = 0, total = 0;

    instance_enter(ipam);
    ipam->plugin->ops.ipam.usage(ipam->self, &n_free, &total);
    instance_leave(ipam);
    *ret = (struct row){.allocated = (int64_t)(total - n_free), .limit = (int64_t)total};
}

/* How many there are. */
static int read_rows(struct engine *engine, struct host *host, struct row rows[ROWS])
{
    const struct capacity capacity = copy_capacity(engine, host);

    for (int i = 0; i < RESOURCES; i++)
        rows[i] =
            (struct row){capacity.allocated.of[i], capacity_limit(&capacity, (enum resource)i), capacity.has.of[i]};
    if (!has_ipam(host))
        return RESOURCES;
    count_addresses(host, &rows[ADDRESSES]);
    return ROWS;
}

void view_sum_capacity(struct engine *engine, struct amounts *ret_allocated, struct amounts *ret_has)
{
    struct amounts allocated = {{0}}, has = {{0}};

    for (size_t h = 0; h < engine->n_hosts; h++) {
        const struct capacity capacity = copy_capacity(engine, engine->hosts[h]);
        for (int i = 0; i < RESOURCES; i++) {
            allocated.of[i] += capacity.allocated.of[i];
            has.of[i] += capacity.has.of[i];
        }
    }
    *ret_allocated = allocated;
    *ret_has = has;
}

/* ---- /info ---- */

static void add_row(const struct host *host, const char *name, const struct row *row, struct str *out)
{
    json_open(out, NULL, '{');
    json_add_text(out, "host", host->config->name);
    json_add_text(out, "resource", name);
    json_add_int(out, "allocated", row->allocated);
    if (row->limit == CAPACITY_UNLIMITED)
        json_add_null(out, "limit");
    else
        json_add_int(out, "limit", row->limit);
    if (row->has == 0)
        json_add_null(out, "has");
    else
        json_add_int(out, "has", row->has);
    json_close(out, '}');
}

void view_add_capacity(struct engine *engine, struct str *out)
{
    struct row rows[ROWS];

    json_open(out, "capacity", '[');
    for (size_t h = 0; h < engine->n_hosts; h++) {
        int n = read_rows(engine, engine->hosts[h], rows);
        for (int i = 0; i < n; i++)
            add_row(engine->hosts[h], kinds[i].name, &rows[i], out);
    }
    json_close(out, ']');
}

/* ---- /metrics ---- */

static void add_gauges(struct engine *engine, int kind, struct str *out)
{
    auto_str struct str limits = STR_INIT;
    const char *metric = kinds[kind].metric, *help = kinds[kind].help;

    str_addf(out, "# HELP runner_allocated_%s %s.\n# TYPE runner_allocated_%s gauge\n", metric, help, metric);
    str_addf(&limits, "# HELP runner_capacity_%s %s, the most that is admitted.\n# TYPE runner_capacity_%s gauge\n",
             metric, help, metric);
    for (size_t h = 0; h < engine->n_hosts; h++) {
        const char *name = engine->hosts[h]->config->name;
        struct row rows[ROWS];

        if (kind >= read_rows(engine, engine->hosts[h], rows))
            continue;
        str_addf(out, "runner_allocated_%s{host=\"%s\"} %" PRId64 "\n", metric, name, rows[kind].allocated);
        if (rows[kind].limit != CAPACITY_UNLIMITED)
            str_addf(&limits, "runner_capacity_%s{host=\"%s\"} %" PRId64 "\n", metric, name, rows[kind].limit);
    }
    str_add(out, str_text(&limits));
}

void view_add_capacity_metrics(struct engine *engine, struct str *out)
{
    for (int kind = 0; kind < ROWS; kind++)
        add_gauges(engine, kind, out);
    str_add(out, "# HELP runner_refused_total Creates and starts refused for want of a resource.\n"
                 "# TYPE runner_refused_total counter\n");
    for (size_t h = 0; h < engine->n_hosts; h++) {
        const struct capacity capacity = copy_capacity(engine, engine->hosts[h]);
        for (int i = 0; i < REFUSALS; i++)
            str_addf(out, "runner_refused_total{host=\"%s\",resource=\"%s\"} %" PRIu64 "\n", capacity.host,
                     capacity_refusal_name(i), capacity.refused[i]);
    }
}
