#include "core/figures.h"

#include "core/batch.h"
#include "core/procfs.h"
#include "core/util/num.h"

#define TEXT_MAX (64 * 1024)

#define STAT_MAX 4096 /* the first line of /proc/stat is in it */

enum { LOAD, MEMORY, CPUS, TICKS, DISK, STEPS };

static const char *text_of(const struct runner_batch *batch, int step)
{
    const struct runner_result *result = batch_result(batch, step);

    return result != NULL && result->status == 0 && result->out != NULL ? result->out : "";
}

static int64_t meminfo_bytes(const char *text, const char *key)
{
    int64_t kib = 0;

    return procfs_meminfo(text, key, &kib) && kib < INT64_MAX / 1024 ? kib * 1024 : 0;
}

static void read_memory(const char *text, struct figures *ret)
{
    int64_t total = meminfo_bytes(text, "MemTotal"), huge = meminfo_bytes(text, "Hugetlb");

    ret->has.of[RESOURCE_MEMORY] = total > huge ? total - huge : 0;
    ret->memory_free = meminfo_bytes(text, "MemAvailable");
}

int figures_read(struct runner_call *call, const char *dir, struct figures *ret, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step steps[STEPS] = {
        [LOAD] = {.kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = "/proc/loadavg"},
        [MEMORY] = {.kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = "/proc/meminfo"},
        [CPUS] = {.kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = "/sys/devices/system/cpu/online"},
        [TICKS] = {.kind = RUNNER_READ,
                   .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                   .path = "/proc/stat",
                   .number = STAT_MAX},
        [DISK] = {.kind = RUNNER_STATFS, .path = dir},
    };

    *ret = (struct figures){.load = 0};
    for (int i = 0; i < STEPS; i++) {
        struct runner_step step = steps[i];
        step.size = RUNNER_STEP_INIT;
        step.number = step.number > 0 ? step.number : TEXT_MAX;
        (void)batch_add(batch, &step, NULL);
    }
    if (batch_run(call, batch, err) < 0)
        return -1;
    (void)procfs_load(text_of(batch, LOAD), &ret->load);
    read_memory(text_of(batch, MEMORY), ret);
    ret->has.of[RESOURCE_CPUS] = procfs_cpus(text_of(batch, CPUS));
    ret->has.of[RESOURCE_DISK] = batch_result(batch, DISK)->number2;
    ret->disk_free = batch_result(batch, DISK)->number;
    ret->look.at_us = num_now_us();
    (void)procfs_cpu_ticks(text_of(batch, TICKS), &ret->look.busy, &ret->look.total);
    return 0;
}

/* Until two looks can be compared, the load tells something like it. */
static double cpu_percent(struct cpu_usage *usage, const struct figures *figures)
{
    const double cpus = (double)figures->has.of[RESOURCE_CPUS];
    double percent;

    usage_add(usage, &figures->look);
    percent = usage_percent(usage);
    if (percent >= 0)
        return percent;
    return figures->load < cpus ? 100 * figures->load / cpus : cpus > 0 ? 100 : 0;
}

void figures_refresh(struct engine *engine, struct runner_call *call, struct figures *ret)
{
    struct host *host = call->host;
    struct runner_error err = ERROR_INIT;
    int status = figures_read(call, host->config->root, ret, &err);

    pthread_mutex_lock(&host->mutex);
    free(host->look_problem);
    host->look_problem = status < 0 ? mem_dup(err.message) : NULL;
    host->looks_failed = status < 0 ? host->looks_failed + 1 : 0;
    if (status == 0) {
        ret->cpu_percent = cpu_percent(&host->cpu_usage, ret);
        host->figures = *ret;
    }
    *ret = host->figures;
    pthread_mutex_unlock(&host->mutex);
    index_lock(engine->index);
    capacity_learn(&host->capacity, &ret->has);
    index_unlock(engine->index);
}

static bool is_known(struct engine *engine, struct host *host)
{
    const int64_t *has = host->capacity.has.of;
    bool is;

    index_lock(engine->index);
    is = has[RESOURCE_CPUS] > 0 && has[RESOURCE_MEMORY] > 0;
    index_unlock(engine->index);
    return is;
}

/* A root that is missing is not the client's mistake, which NOTFOUND would be. */
static int read_space(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STATFS, .path = call->host->config->root};

    if (batch_add(batch, &step, err) == 0 && batch_run(call, batch, err) == 0)
        return 0;
    if (err != NULL && err->code == RUNNER_E_NOTFOUND)
        err->code = RUNNER_E_IO;
    return -1;
}

int figures_check_space(struct engine *engine, struct runner_call *call, struct runner_error *err)
{
    struct host *host = call->host;
    auto_batch struct runner_batch *batch = batch_new(call);
    struct amounts found = {{0}};
    struct figures figures;
    int status;

    if (!is_known(engine, host))
        figures_refresh(engine, call, &figures);
    if (host->config->capacity.disk_overcommit == 0)
        return 0;
    if (read_space(call, batch, err) < 0)
        return -1;
    found.of[RESOURCE_DISK] = batch_result(batch, 0)->number2;
    index_lock(engine->index);
    capacity_learn(&host->capacity, &found);
    status = capacity_check_space(&host->capacity, batch_result(batch, 0)->number, err);
    index_unlock(engine->index);
    return status;
}
