#include "core/view-network.h"

#include <inttypes.h>
#include <string.h>

#include "core/log.h"
#include "core/util/error.h"

#define SHOWN_MAX 1000 /* sandboxes of a host */
#define WAIT_MS   2000 /* for a host */

struct guest {
    char id[64];
    struct runner_nic nic;
};

struct look { /* at one host */
    const struct host *host;
    struct guest *guests;
    size_t n, cap;
    struct runner_nic_counters *counters; /* of each; NULL: not known */
};

static void collect(const struct sandbox *sandbox, void *ctx)
{
    struct look *look = ctx;
    const struct record *record = sandbox->record;

    if (sandbox->host != look->host || look->n == look->cap || record->nic.size == 0 || sandbox->is_foreign ||
        (record->state != SANDBOX_STARTED && record->state != SANDBOX_PAUSED))
        return;
    (void)snprintf(look->guests[look->n].id, sizeof look->guests[look->n].id, "%s", record->id);
    look->guests[look->n++].nic = record->nic;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct guest *)a)->id, ((const struct guest *)b)->id);
}

static void ask(struct host *host, struct runner_call *call, struct look *look)
{
    auto_free const struct runner_nic **nics = mem_array(look->n, sizeof(struct runner_nic *));
    struct runner_error err = ERROR_INIT;
    struct runner_call child;

    look->counters = mem_array(look->n, sizeof look->counters[0]);
    for (size_t i = 0; i < look->n; i++) {
        nics[i] = &look->guests[i].nic;
        look->counters[i].size = sizeof look->counters[i];
    }
    call_init_child(&child, call, WAIT_MS);
    child.host = host;
    if (HOST_CALL(host, RUNNER_NETWORK, network, counters, &child, nics, look->n, look->counters, &err) == 0)
        return;
    log_event(RUNNER_LOG_WARN, "metrics.no_network", "host", host->config->name, "error", err.message, NULL);
    free(look->counters);
    look->counters = NULL;
}

static void look_at(struct engine *engine, struct host *host, struct runner_call *call, struct look *ret)
{
    *ret = (struct look){.host = host};
    if (!(host_plugin(host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_COUNTERS))
        return;
    ret->cap = index_count(engine->index);
    ret->guests = mem_array(ret->cap, sizeof ret->guests[0]);
    index_each(engine->index, collect, ret);
    qsort(ret->guests, ret->n, sizeof ret->guests[0], compare);
    ret->n = ret->n < SHOWN_MAX ? ret->n : SHOWN_MAX;
    if (ret->n > 0)
        ask(host, call, ret);
}

/* ---- printing ---- */

static uint64_t rx_bytes(const struct runner_nic_counters *c)
{
    return c->rx_bytes;
}

static uint64_t tx_bytes(const struct runner_nic_counters *c)
{
    return c->tx_bytes;
}

static uint64_t rx_packets(const struct runner_nic_counters *c)
{
    return c->rx_packets;
}

static uint64_t tx_packets(const struct runner_nic_counters *c)
{
    return c->tx_packets;
}

static uint64_t refused_packets(const struct runner_nic_counters *c)
{
    return c->refused_packets;
}

static const struct {
    const char *name, *help;
    uint64_t (*of)(const struct runner_nic_counters *);
} metrics[] = {
    {"runner_sandbox_network_receive_bytes_total", "Bytes that a sandbox received.", rx_bytes},
    {"runner_sandbox_network_transmit_bytes_total", "Bytes that a sandbox sent.", tx_bytes},
    {"runner_sandbox_network_receive_packets_total", "Packets that a sandbox received.", rx_packets},
    {"runner_sandbox_network_transmit_packets_total", "Packets that a sandbox sent.", tx_packets},
    {"runner_sandbox_network_refused_packets_total",
     "Packets of a sandbox that were in another's name, or for where it may not.", refused_packets},
};

static void print(const struct look *looks, size_t n, struct str *out)
{
    for (size_t m = 0; m < ARRAY_LEN(metrics); m++) {
        str_addf(out, "# HELP %s %s\n# TYPE %s counter\n", metrics[m].name, metrics[m].help, metrics[m].name);
        for (size_t h = 0; h < n; h++)
            for (size_t i = 0; looks[h].counters != NULL && i < looks[h].n; i++)
                str_addf(out, "%s{host=\"%s\",id=\"%s\"} %" PRIu64 "\n", metrics[m].name, looks[h].host->config->name,
                         looks[h].guests[i].id, metrics[m].of(&looks[h].counters[i]));
    }
}

static void print_mends(const struct engine *engine, struct str *out)
{
    str_add(out, "# HELP runner_network_losses_total Times that what a host's network is made of was found missing.\n"
                 "# TYPE runner_network_losses_total counter\n");
    for (size_t h = 0; h < engine->n_hosts; h++)
        str_addf(out, "runner_network_losses_total{host=\"%s\"} %lu\n", engine->hosts[h]->config->name,
                 atomic_load(&engine->hosts[h]->mends.lost));
    str_add(out, "# HELP runner_network_mends_total Attempts to make it again, by result.\n"
                 "# TYPE runner_network_mends_total counter\n");
    for (size_t h = 0; h < engine->n_hosts; h++) {
        const struct host *host = engine->hosts[h];

        str_addf(out, "runner_network_mends_total{host=\"%s\",result=\"done\"} %lu\n", host->config->name,
                 atomic_load(&host->mends.mended));
        str_addf(out, "runner_network_mends_total{host=\"%s\",result=\"failed\"} %lu\n", host->config->name,
                 atomic_load(&host->mends.failed));
    }
}

void view_add_network_metrics(struct engine *engine, struct runner_call *call, struct str *out)
{
    auto_free struct look *looks = mem_array(engine->n_hosts, sizeof *looks);

    for (size_t h = 0; h < engine->n_hosts; h++)
        look_at(engine, engine->hosts[h], call, &looks[h]);
    print(looks, engine->n_hosts, out);
    print_mends(engine, out);
    for (size_t h = 0; h < engine->n_hosts; h++) {
        free(looks[h].guests);
        free(looks[h].counters);
    }
}
