#include "core/view.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/batch.h"
#include "core/op.h"
#include "core/util/error.h"
#include "core/util/num.h"

#define GIB          ((double)(1 << 30))
#define LOG_TAIL     (1 << 20) /* bytes */
#define LOG_TAIL_MAX (64 << 20)

static int wait_up(struct engine *engine, struct runner_call *call, struct runner_error *err)
{
    for (size_t i = 0; i < engine->n_hosts; i++)
        if (host_wait_up(engine->hosts[i], call, err) < 0)
            return -1;
    return 0;
}

/* ---- sandboxes ---- */

static void add_time(struct str *out, const char *key, int64_t wall_ms)
{
    time_t seconds = wall_ms / 1000;
    struct tm tm;
    char text[40];
    size_t len;

    gmtime_r(&seconds, &tm);
    len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + len, sizeof text - len, ".%03dZ", (int)(wall_ms % 1000));
    json_add_text(out, key, text);
}

static void add_members(const struct sandbox *sandbox, struct str *out)
{
    const struct record *record = sandbox->record;

    json_add_text(out, "id", record->id);
    json_add_text(out, "name", json_text(record->request, "name", record->id));
    json_add_text(out, "state", sandbox_state_name(record->state));
    json_add_text(out, "snapshot", record->snapshot);
    json_add_int(out, "cpus", record->cpus);
    json_add_real(out, "memoryGiB", (double)record->memory_bytes / GIB);
    json_add_real(out, "diskGiB", (double)record->disk_bytes / GIB);
    json_add_text(out, "address", record->nic.address);
    add_time(out, "createdAt", record->created_ms);
    json_add_text(out, "host", sandbox->host->config->name);
    if (record->daemon_version != NULL && record->state == SANDBOX_STARTED)
        json_add_text(out, "daemonVersion", record->daemon_version);
    if (record->error != NULL)
        json_add_text(out, "error", record->error);
}

struct ids {
    char (*list)[64];
    size_t n, cap;
};

static void collect_id(const struct sandbox *sandbox, void *ctx)
{
    struct ids *ids = ctx;

    if (ids->n < ids->cap)
        (void)snprintf(ids->list[ids->n++], sizeof ids->list[0], "%s", sandbox->record->id);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The pid file and the process's accounting, read through the host's transport. Absent: nothing is added. */
static int64_t read_pid(struct host *host, struct runner_call *call, const char *id)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = host_sandbox_path(host, id, "vmm.pid");
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = path};

    if (batch_add(batch, &step, NULL) < 0 || batch_run(call, batch, NULL) < 0 || batch_result(batch, 0)->status != 0)
        return 0;
    return batch_result(batch, 0)->number;
}

static void add_stats(struct runner_call *call, int64_t pid, struct str *out)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("/proc/%lld/stat", (long long)pid);
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = path, .number = 4096};
    unsigned long long user, system;
    long long rss;
    const char *rest;

    if (batch_add(batch, &step, NULL) < 0 || batch_run(call, batch, NULL) < 0 || batch_result(batch, 0)->out == NULL)
        return;
    rest = strrchr(batch_result(batch, 0)->out, ')'); /* the name before it may hold anything */
    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
                               "%*d %*u %*u %lld",
                               &user, &system, &rss) != 3)
        return;
    json_add_int(out, "cpuMs", (int64_t)((user + system) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK)));
    json_add_int(out, "rssBytes", rss * sysconf(_SC_PAGESIZE));
}

static void add_sandbox(struct engine *engine, struct runner_call *call, struct sandbox *sandbox, bool with_stats,
                        struct str *out)
{
    enum sandbox_state state;
    int64_t pid;

    index_lock(engine->index);
    add_members(sandbox, out);
    state = sandbox->record->state;
    index_unlock(engine->index);
    if (state != SANDBOX_STARTED && state != SANDBOX_PAUSED)
        return;
    call->host = sandbox->host;
    pid = read_pid(sandbox->host, call, sandbox->record->id);
    if (pid > 0)
        json_add_int(out, "pid", pid);
    if (pid > 0 && with_stats)
        add_stats(call, pid, out);
}

int view_list(struct engine *engine, struct runner_call *call, bool with_stats, struct str *out,
              struct runner_error *err)
{
    struct ids ids = {.list = NULL};

    if (wait_up(engine, call, err) < 0)
        return -1;
    ids.cap = index_count(engine->index);
    ids.list = mem_array(ids.cap, sizeof ids.list[0]);
    index_each(engine->index, collect_id, &ids);
    qsort(ids.list, ids.n, sizeof ids.list[0], compare_ids);
    json_open(out, NULL, '{');
    json_open(out, "sandboxes", '[');
    for (size_t i = 0; i < ids.n; i++) {
        struct sandbox *sandbox = index_get(engine->index, ids.list[i]);
        if (sandbox == NULL)
            continue;
        json_open(out, NULL, '{');
        add_sandbox(engine, call, sandbox, with_stats, out);
        json_close(out, '}');
        index_put(engine->index, sandbox);
    }
    json_close(out, ']');
    json_close(out, '}');
    free(ids.list);
    return 0;
}

int view_sandbox(struct engine *engine, struct runner_call *call, const char *id, struct str *out,
                 struct runner_error *err)
{
    struct sandbox *sandbox;

    if (wait_up(engine, call, err) < 0)
        return -1;
    sandbox = index_get(engine->index, id);
    json_open(out, NULL, '{');
    if (sandbox != NULL)
        add_sandbox(engine, call, sandbox, false, out);
    else
        json_add_text(out, "state", "destroyed");
    json_add_text(out, "backupState", "NONE");
    json_add_bool(out, "recoverable", false);
    json_close(out, '}');
    index_put(engine->index, sandbox);
    return 0;
}

int view_log(struct engine *engine, struct runner_call *call, const char *id, const char *tail, struct str *out,
             struct runner_error *err)
{
    struct sandbox *sandbox;
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL | RUNNER_S_TAIL, .number = LOG_TAIL};
    auto_free char *path = NULL;
    const struct runner_result *result;

    if (tail != NULL && !num_int(tail, 1, LOG_TAIL_MAX, &step.number))
        return fail(err, RUNNER_E_INVALID, 0, "tail: expected bytes, 1 to %d", LOG_TAIL_MAX);
    if (wait_up(engine, call, err) < 0)
        return -1;
    sandbox = index_get(engine->index, id);
    if (sandbox == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no sandbox '%s'", id);
    call->host = sandbox->host;
    path = host_sandbox_path(sandbox->host, id, "serial.log");
    index_put(engine->index, sandbox);
    step.path = path;
    if (batch_add(batch, &step, err) < 0 || batch_run(call, batch, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->len > 0)
        str_add_mem(out, result->out, result->len);
    return 0;
}

/* ---- the runner ---- */

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
