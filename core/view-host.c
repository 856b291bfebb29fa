/* The runner and its hosts: /info and /metrics. */
#include <string.h>
#include <unistd.h>

#include "core/batch.h"
#include "core/op.h"
#include "core/util/error.h"
#include "core/view.h"

#define GIB ((double)(1 << 30))

struct totals {
    size_t by_state[SANDBOX_DESTROYING + 1];
    double cpus, memory_gib, disk_gib; /* of those that hold a VM; disk: of all */
};

static void add_up(const struct sandbox *sandbox, void *ctx)
{
    struct totals *totals = ctx;
    const struct record *record = sandbox->record;

    totals->by_state[record->state]++;
    totals->disk_gib += (double)record->disk_bytes / GIB;
    if (record->state == SANDBOX_STARTED || record->state == SANDBOX_PAUSED) {
        totals->cpus += record->cpus;
        totals->memory_gib += (double)record->memory_bytes / GIB;
    }
}

static void add_services(struct host *host, struct str *out)
{
    pthread_mutex_lock(&host->mutex);
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        const struct instance *instance = host->instances[kind], *used = instance;
        auto_free char *name = NULL;

        if (instance == NULL)
            continue;
        while (used != NULL && used->problem != NULL) /* of candidates the one in use counts */
            used = used->next;
        if (used != NULL)
            instance = used;
        name = mem_printf("%s/%s", loader_kind_name(kind), instance->plugin->desc.name);
        json_open(out, NULL, '{');
        json_add_text(out, "serviceName", name);
        json_add_bool(out, "healthy", instance->problem == NULL);
        if (instance->problem != NULL)
            json_add_text(out, "errorReason", instance->problem);
        json_close(out, '}');
    }
    pthread_mutex_unlock(&host->mutex);
}

/* Figures of the host, read through its transport; what cannot be read is left at 0. */
struct figures {
    double load, memory_percent, disk_percent;
    long cpus;
};

static double field_of(const char *text, const char *name)
{
    const char *at = text != NULL ? strstr(text, name) : NULL;

    return at != NULL ? strtod(at + strlen(name), NULL) : 0;
}

static void read_figures(struct host *host, struct runner_call *call, struct figures *ret)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step steps[] = {
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = "/proc/loadavg", .number = 4096},
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = "/proc/meminfo", .number = 65536},
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_STATFS, .path = host->config->root},
    };
    const struct runner_result *disk;
    double total, available;

    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        (void)batch_add(batch, &steps[i], NULL);
    ret->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (batch_run(call, batch, NULL) < 0)
        return;
    if (batch_result(batch, 0)->out != NULL) {
        double one, five, fifteen;
        if (sscanf(batch_result(batch, 0)->out, "%lf %lf %lf", &one, &five, &fifteen) == 3)
            ret->load = fifteen / (double)ret->cpus;
    }
    total = field_of(batch_result(batch, 1)->out, "MemTotal:");
    available = field_of(batch_result(batch, 1)->out, "MemAvailable:");
    ret->memory_percent = total > 0 ? 100 * (total - available) / total : 0;
    disk = batch_result(batch, 2);
    ret->disk_percent = disk->number2 > 0 ? 100 * (double)(disk->number2 - disk->number) / (double)disk->number2 : 0;
}

void view_info(struct engine *engine, struct runner_call *call, struct str *out)
{
    auto_free char *vmm = host_vmm_text(engine->hosts[0]);
    struct totals totals = {.cpus = 0};
    struct figures figures = {.load = 0};

    index_each(engine->index, add_up, &totals);
    read_figures(engine->hosts[0], call, &figures);
    json_open(out, NULL, '{');
    json_open(out, "serviceHealth", '[');
    for (size_t i = 0; i < engine->n_hosts; i++)
        add_services(engine->hosts[i], out);
    json_close(out, ']');
    json_open(out, "metrics", '{');
    json_add_real(out, "currentCpuLoadAverage", figures.load);
    json_add_real(out, "currentCpuUsagePercentage", figures.load > 1 ? 100 : figures.load * 100);
    json_add_real(out, "currentMemoryUsagePercentage", figures.memory_percent);
    json_add_real(out, "currentDiskUsagePercentage", figures.disk_percent);
    json_add_real(out, "currentAllocatedCpu", totals.cpus);
    json_add_real(out, "currentAllocatedMemoryGiB", totals.memory_gib);
    json_add_real(out, "currentAllocatedDiskGiB", totals.disk_gib);
    json_add_int(out, "currentStartedSandboxes", (int64_t)totals.by_state[SANDBOX_STARTED]);
    json_close(out, '}');
    json_add_text(out, "appVersion", VERSION_TEXT);
    if (vmm != NULL)
        json_add_text(out, "vmm", vmm);
    json_close(out, '}');
}

static void add_metric(struct str *out, const char *name, const char *type, const char *help)
{
    str_addf(out, "# HELP runner_%s %s\n# TYPE runner_%s %s\n", name, help, name, type);
}

static void add_op_metrics(struct engine_stats *stats, struct str *out)
{
    add_metric(out, "operations_total", "counter", "Operations that ended, by kind and result.");
    for (int kind = 0; kind < OP_KINDS; kind++) {
        str_addf(out, "runner_operations_total{op=\"%s\",result=\"done\"} %lu\n", op_name((enum op_kind)kind),
                 atomic_load(&stats->ops_done[kind]));
        str_addf(out, "runner_operations_total{op=\"%s\",result=\"failed\"} %lu\n", op_name((enum op_kind)kind),
                 atomic_load(&stats->ops_failed[kind]));
    }
    add_metric(out, "operation_seconds_total", "counter", "Time that operations ran, by kind.");
    for (int kind = 0; kind < OP_KINDS; kind++)
        str_addf(out, "runner_operation_seconds_total{op=\"%s\"} %.6f\n", op_name((enum op_kind)kind),
                 (double)atomic_load(&stats->op_us[kind]) / 1e6);
}

void view_metrics(struct engine *engine, const struct http_server *server, struct str *out)
{
    struct totals totals = {.cpus = 0};
    struct http_stats http = {.connections = 0};
    size_t waiting, running;

    index_each(engine->index, add_up, &totals);
    waiting = pool_load(engine->pool, &running);
    add_metric(out, "sandboxes", "gauge", "Sandboxes, by state.");
    for (size_t i = 0; i < ARRAY_LEN(totals.by_state); i++)
        str_addf(out, "runner_sandboxes{state=\"%s\"} %zu\n", sandbox_state_name((enum sandbox_state)i),
                 totals.by_state[i]);
    add_metric(out, "allocated_cpus", "gauge", "vCPUs of the sandboxes that hold a VM.");
    str_addf(out, "runner_allocated_cpus %g\n", totals.cpus);
    add_metric(out, "allocated_memory_bytes", "gauge", "Memory of the sandboxes that hold a VM.");
    str_addf(out, "runner_allocated_memory_bytes %.0f\n", totals.memory_gib * GIB);
    add_op_metrics(&engine->stats, out);
    add_metric(out, "tasks", "gauge", "Tasks of the worker pool.");
    str_addf(out, "runner_tasks{state=\"running\"} %zu\nrunner_tasks{state=\"waiting\"} %zu\n", running,
             waiting - running);
    if (server == NULL)
        return;
    http_stats(server, &http);
    add_metric(out, "http_requests_total", "counter", "Request heads read.");
    str_addf(out, "runner_http_requests_total %llu\n", (unsigned long long)http.requests);
    add_metric(out, "http_unauthorized_total", "counter", "Requests refused for their credentials.");
    str_addf(out, "runner_http_unauthorized_total %llu\n", (unsigned long long)http.unauthorized);
    add_metric(out, "http_proxied_total", "counter", "Requests proxied into guests.");
    str_addf(out, "runner_http_proxied_total %llu\n", (unsigned long long)http.proxied);
    add_metric(out, "http_connections", "gauge", "Open client connections.");
    str_addf(out, "runner_http_connections %llu\n", (unsigned long long)http.open);
}
