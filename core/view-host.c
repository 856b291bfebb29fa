/* The runner and its hosts: /info, and what a healthcheck says. */
#include <string.h>

#include "core/figures.h"
#include "core/op.h"
#include "core/images/images.h"
#include "core/snapshot.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/view-capacity.h"
#include "core/view.h"

#define GIB        ((double)(1 << 30))
#define HANGS_MS   90000 /* of checks: they have less time, and have not ended */
#define SICK_AFTER 2 /* looks that failed in a row: one may have met a busy host, and being sick ends all scheduling */

struct totals {
    size_t by_state[SANDBOX_STATES];
};

static void add_up(const struct sandbox *sandbox, void *ctx)
{
    struct totals *totals = ctx;

    totals->by_state[sandbox->record->state]++;
}

static void add_service(struct str *out, const char *kind, const char *name, const char *problem)
{
    auto_free char *whole = mem_printf("%s/%s", kind, name);

    json_open(out, NULL, '{');
    json_add_text(out, "serviceName", whole);
    json_add_bool(out, "healthy", problem == NULL);
    if (problem != NULL)
        json_add_text(out, "errorReason", problem);
    json_close(out, '}');
}

/* Of candidates the one in use counts; all, where none can be used. Under the host's mutex. */
static void add_instances(const struct instance *candidates, const char *kind, struct str *out)
{
    for (const struct instance *used = candidates; used != NULL; used = used->next)
        if (used->problem == NULL) {
            add_service(out, kind, used->plugin->desc.name, NULL);
            return;
        }
    for (const struct instance *sick = candidates; sick != NULL; sick = sick->next)
        add_service(out, kind, sick->plugin->desc.name, sick->problem);
}

static void add_services(struct host *host, struct str *out)
{
    pthread_mutex_lock(&host->mutex);
    if (!host->is_up)
        add_service(out, "host", host->config->name,
                    host->problem != NULL ? host->problem : "its records are being read");
    else if (host->looks_failed >= SICK_AFTER)
        add_service(out, "host", host->config->name, host->look_problem);
    else if (host->checking != NULL && num_now_ms() - host->check_begun_ms > HANGS_MS)
        add_service(out, "host", host->config->name, "the checks of its plugins do not end");
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        add_instances(host->instances[kind], loader_kind_name(kind), out);
    pthread_mutex_unlock(&host->mutex);
}

static double percent(int64_t part, int64_t total)
{
    return total > 0 && part >= 0 ? 100 * (double)part / (double)total : 0;
}

/* Of all hosts together; a host is read by a call of its own. */
static struct figures read_figures(struct engine *engine, struct runner_call *call)
{
    struct figures sum = {.load = 0};

    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct figures one;
        struct runner_call child;

        call_init_child(&child, call, call_left_ms(call));
        child.host = engine->hosts[i];
        figures_refresh(engine, &child, &one);
        for (int r = 0; r < RESOURCES; r++)
            sum.has.of[r] += one.has.of[r];
        sum.memory_free += one.memory_free;
        sum.disk_free += one.disk_free;
        sum.load += one.load;
        sum.cpu_percent += one.cpu_percent * (double)one.has.of[RESOURCE_CPUS];
    }
    if (sum.has.of[RESOURCE_CPUS] > 0)
        sum.cpu_percent /= (double)sum.has.of[RESOURCE_CPUS];
    return sum;
}

/* Images, as the contract has it, not names of them: of what was pulled several may stand for one. */
static int64_t count_snapshots(struct engine *engine, struct runner_call *call)
{
    int64_t n = 0;

    for (size_t i = 0; i < engine->n_hosts; i++) {
        auto_str struct str refs = STR_INIT;
        struct image_stats stats;
        struct runner_call child;
        int64_t names = 0;

        call_init_child(&child, call, call_left_ms(call));
        child.host = engine->hosts[i];
        if (snapshot_list(&child, engine->hosts[i]->config->root, &refs, NULL) < 0)
            continue;
        images_read_stats(engine->hosts[i]->images, &child, &stats);
        for (const char *p = str_text(&refs); (p = strchr(p, '\n')) != NULL; p++)
            names++;
        n += (int64_t)stats.images + (names > (int64_t)stats.names ? names - (int64_t)stats.names : 0);
    }
    return n;
}

/* Contract 3.2. The totals are not asked for here, but a client would have to look elsewhere for them. */
static void add_figures(struct engine *engine, struct runner_call *call, const struct figures *figures, struct str *out)
{
    const int64_t cpus = figures->has.of[RESOURCE_CPUS];
    const int64_t memory = figures->has.of[RESOURCE_MEMORY], disk = figures->has.of[RESOURCE_DISK];
    struct amounts allocated, has;
    struct totals totals = {{0}};

    index_each(engine->index, add_up, &totals);
    view_sum_capacity(engine, &allocated, &has);
    json_add_real(out, "currentCpuLoadAverage", cpus > 0 ? figures->load / (double)cpus : 0);
    json_add_real(out, "currentCpuUsagePercentage", figures->cpu_percent);
    json_add_real(out, "currentMemoryUsagePercentage", percent(memory - figures->memory_free, memory));
    json_add_real(out, "currentDiskUsagePercentage", percent(disk - figures->disk_free, disk));
    json_add_int(out, "currentAllocatedCpu", allocated.of[RESOURCE_CPUS]);
    json_add_real(out, "currentAllocatedMemoryGiB", (double)allocated.of[RESOURCE_MEMORY] / GIB);
    json_add_real(out, "currentAllocatedDiskGiB", (double)allocated.of[RESOURCE_DISK] / GIB);
    json_add_int(out, "currentSnapshotCount", count_snapshots(engine, call));
    json_add_int(out, "currentStartedSandboxes", (int64_t)totals.by_state[SANDBOX_STARTED]);
    json_add_int(out, "cpu", has.of[RESOURCE_CPUS]);
    json_add_real(out, "memoryGiB", (double)has.of[RESOURCE_MEMORY] / GIB);
    json_add_real(out, "diskGiB", (double)has.of[RESOURCE_DISK] / GIB);
    json_add_int(out, "gpu", 0); /* the API keeps what it was told last, and gives such a runner nothing else */
}

static void add_health(struct engine *engine, struct runner_call *call, struct str *out)
{
    const struct figures figures = read_figures(engine, call); /* which is what shows that a host is sick, too */

    json_open(out, "serviceHealth", '[');
    for (size_t i = 0; i < engine->n_hosts; i++)
        add_services(engine->hosts[i], out);
    json_close(out, ']');
    json_open(out, "metrics", '{');
    add_figures(engine, call, &figures, out);
    json_close(out, '}');
}

void view_add_health(struct engine *engine, int64_t wait_ms, struct str *out)
{
    struct runner_call call;

    call_init(&call, engine->hosts[0], NULL, wait_ms);
    for (size_t i = 0; i < engine->n_hosts; i++)
        (void)host_wait_up(engine->hosts[i], &call, NULL);
    add_health(engine, &call, out);
    call_done(&call);
}

void view_info(struct engine *engine, struct runner_call *call, struct str *out)
{
    auto_free char *vmm = host_vmm_text(engine->hosts[0]);

    json_open(out, NULL, '{');
    add_health(engine, call, out);
    view_add_capacity(engine, out);
    json_add_text(out, "appVersion", VERSION_TEXT);
    if (vmm != NULL)
        json_add_text(out, "vmm", vmm);
    json_close(out, '}');
}
