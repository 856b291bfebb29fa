/* /metrics: Prometheus text. Base units, one label set a metric, HELP and TYPE before each. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/jobs/agent.h"
#include "core/op.h"
#include "core/util/num.h"
#include "core/view-capacity.h"
#include "core/view-images.h"
#include "core/view-network.h"
#include "core/view.h"

static void add_metric(struct str *out, const char *name, const char *type, const char *help)
{
    str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_count(struct str *out, const char *name, const char *type, const char *help, unsigned long long value)
{
    add_metric(out, name, type, help);
    str_addf(out, "%s %llu\n", name, value);
}

/* ---- sandboxes and operations ---- */

static void add_up(const struct sandbox *sandbox, void *ctx)
{
    size_t *by_state = ctx;

    by_state[sandbox->record->state]++;
}

static void add_sandboxes(struct engine *engine, struct str *out)
{
    size_t by_state[SANDBOX_STATES] = {0};

    index_each(engine->index, add_up, by_state);
    add_metric(out, "runner_sandboxes", "gauge", "Sandboxes, by state.");
    for (size_t i = 0; i < ARRAY_LEN(by_state); i++)
        str_addf(out, "runner_sandboxes{state=\"%s\"} %zu\n", sandbox_state_name((enum sandbox_state)i), by_state[i]);
}

static void add_seconds(const struct engine_stats *stats, enum op_kind kind, struct str *out)
{
    const char *name = op_name(kind);
    unsigned long n = 0;

    for (int i = 0; i < ENGINE_BUCKETS; i++) {
        n += atomic_load(&stats->op_buckets[kind][i]);
        str_addf(out, "runner_operation_seconds_bucket{op=\"%s\",le=\"%g\"} %lu\n", name,
                 (double)engine_bucket_us[i] / 1e6, n);
    }
    n += atomic_load(&stats->op_buckets[kind][ENGINE_BUCKETS]);
    str_addf(out, "runner_operation_seconds_bucket{op=\"%s\",le=\"+Inf\"} %lu\n", name, n);
    str_addf(out, "runner_operation_seconds_sum{op=\"%s\"} %.6f\n", name,
             (double)atomic_load(&stats->op_us[kind]) / 1e6);
    str_addf(out, "runner_operation_seconds_count{op=\"%s\"} %lu\n", name, n);
}

static void add_operations(const struct engine_stats *stats, struct str *out)
{
    add_metric(out, "runner_operations_total", "counter", "Operations that ended, by kind and result.");
    for (int kind = 0; kind < OP_KINDS; kind++) {
        str_addf(out, "runner_operations_total{op=\"%s\",result=\"done\"} %lu\n", op_name((enum op_kind)kind),
                 atomic_load(&stats->ops_done[kind]));
        str_addf(out, "runner_operations_total{op=\"%s\",result=\"failed\"} %lu\n", op_name((enum op_kind)kind),
                 atomic_load(&stats->ops_failed[kind]));
    }
    add_metric(out, "runner_operation_seconds", "histogram", "Time that operations ran, by kind.");
    for (int kind = 0; kind < OP_KINDS; kind++)
        add_seconds(stats, (enum op_kind)kind, out);
}

static void add_tasks(struct engine *engine, struct str *out)
{
    size_t running, all = pool_load(engine->pool, &running);

    add_metric(out, "runner_tasks", "gauge", "Tasks of the worker pool.");
    str_addf(out, "runner_tasks{state=\"running\"} %zu\nrunner_tasks{state=\"waiting\"} %zu\n", running, all - running);
}

/* ---- the API ---- */

static void add_jobs(struct agent *agent, struct str *out)
{
    struct agent_stats stats;

    agent_read_stats(agent, &stats);
    add_metric(out, "runner_jobs_total", "counter", "Jobs of the API that ended, by result.");
    str_addf(out, "runner_jobs_total{result=\"completed\"} %lu\nrunner_jobs_total{result=\"failed\"} %lu\n",
             stats.jobs_completed, stats.jobs_failed);
    add_metric(out, "runner_jobs", "gauge", "Jobs of the API in hand: done now, or done and still to be told.");
    str_addf(out, "runner_jobs{state=\"running\"} %lu\nrunner_jobs{state=\"untold\"} %lu\n", stats.jobs_running,
             stats.jobs_untold);
    add_count(out, "runner_api_reachable", "gauge", "1: the API answered the last request.", stats.is_reachable);
    add_count(out, "runner_api_failures_total", "counter", "Requests that the API did not answer.",
              stats.requests_failed);
    add_metric(out, "runner_spans_total", "counter", "Spans of traces, by what became of them.");
    str_addf(out, "runner_spans_total{result=\"sent\"} %lu\nrunner_spans_total{result=\"dropped\"} %lu\n",
             stats.spans.sent, stats.spans.dropped);
}

/* ---- the server and the process ---- */

static void add_http(const struct http_server *server, struct str *out)
{
    struct http_stats http = {.connections = 0};

    http_stats(server, &http);
    add_count(out, "runner_http_requests_total", "counter", "Request heads read.", http.requests);
    add_count(out, "runner_http_unauthorized_total", "counter", "Requests refused for their credentials.",
              http.unauthorized);
    add_count(out, "runner_http_proxied_total", "counter", "Requests proxied into guests.", http.proxied);
    add_count(out, "runner_http_connections", "gauge", "Open client connections.", http.open);
}

static size_t count_descriptors(void)
{
    auto_dir DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (dir != NULL && readdir(dir) != NULL)
        n++;
    return n > 3 ? n - 3 : 0; /* ".", "..", and the one that reads them */
}

static unsigned long long resident_bytes(void)
{
    auto_fclose FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long size = 0, resident = 0;

    if (file == NULL || fscanf(file, "%llu %llu", &size, &resident) != 2)
        return 0;
    return resident * (unsigned long long)sysconf(_SC_PAGESIZE);
}

/* The names that Prometheus' own clients have for these. */
static void add_process(const struct engine *engine, struct str *out)
{
    struct rusage usage = {.ru_maxrss = 0};

    (void)getrusage(RUSAGE_SELF, &usage);
    add_metric(out, "process_cpu_seconds_total", "counter", "Processor time of the runner, user and system.");
    str_addf(out, "process_cpu_seconds_total %.6f\n",
             (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    add_count(out, "process_resident_memory_bytes", "gauge", "Memory of the runner.", resident_bytes());
    add_count(out, "process_open_fds", "gauge", "Open descriptors of the runner.", count_descriptors());
    add_metric(out, "process_start_time_seconds", "gauge", "When the runner was started, since 1970.");
    str_addf(out, "process_start_time_seconds %.3f\n", (double)engine->started_ms / 1e3);
    add_metric(out, "runner_build_info", "gauge", "1; the labels say what runs.");
    str_addf(out, "runner_build_info{version=\"%s\"} 1\n", VERSION_TEXT);
}

void view_metrics(struct engine *engine, struct runner_call *call, const struct http_server *server, struct str *out)
{
    add_sandboxes(engine, out);
    view_add_capacity_metrics(engine, out);
    view_add_network_metrics(engine, call, out);
    view_add_image_metrics(engine, call, out);
    add_operations(&engine->stats, out);
    add_tasks(engine, out);
    if (engine->agent != NULL)
        add_jobs(engine->agent, out);
    if (server != NULL)
        add_http(server, out);
    add_process(engine, out);
}
