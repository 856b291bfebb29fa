#include "core/stats.h"

#include "core/batch.h"
#include "core/procfs.h"
#include "core/util/error.h"
#include "core/util/json.h"

#define PIDS_A_BATCH 1024

static bool is_of(const struct stats_look *look, const struct host *host)
{
    return look->is_wanted && look->sandbox->host == host;
}

/* Of those that are the host's. What cannot be told of one is no answer about the others: then each is asked alone. */
static void find_some(struct runner_call *call, struct stats_look *looks, size_t n)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    int asked = 0, answer = 0;

    for (size_t i = 0; i < n; i++) {
        auto_free char *path = host_sandbox_path(call->host, looks[i].sandbox->record->id, "vmm.pid");
        struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = path};

        if (is_of(&looks[i], call->host) && batch_add(batch, &step, NULL) == asked)
            asked++;
    }
    if (asked == 0)
        return;
    if (batch_run(call, batch, NULL) < 0) {
        for (size_t i = 0; n > 1 && i < n; i++)
            find_some(call, &looks[i], 1);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (is_of(&looks[i], call->host)) {
            const struct runner_result *result = batch_result(batch, answer++);

            looks[i].pid = result != NULL && result->status == 0 ? result->number : 0;
        }
}

void stats_find_pids(struct engine *engine, struct runner_call *call, struct stats_look *looks, size_t n)
{
    for (size_t i = 0; i < engine->n_hosts; i++) {
        call->host = engine->hosts[i];
        for (size_t at = 0; at < n; at += PIDS_A_BATCH)
            find_some(call, looks + at, n - at < PIDS_A_BATCH ? n - at : PIDS_A_BATCH);
    }
}

void stats_add_process(struct runner_call *call, int64_t pid, struct str *out)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("/proc/%lld/stat", (long long)pid);
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = path, .number = 4096};
    struct procfs_usage usage;

    if (batch_run_step(call, batch, &step, NULL) < 0 || batch_result(batch, 0)->out == NULL ||
        !procfs_usage(batch_result(batch, 0)->out, &usage))
        return;
    json_add_int(out, "cpuMs", usage.cpu_ms);
    json_add_int(out, "rssBytes", usage.rss_bytes);
}

static void add_counters(const struct runner_vm_counters *counters, struct str *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {
        {"diskReadBytes", counters->disk_read_bytes}, {"diskWriteBytes", counters->disk_write_bytes},
        {"diskReads", counters->disk_reads},          {"diskWrites", counters->disk_writes},
        {"netRxBytes", counters->net_rx_bytes},       {"netTxBytes", counters->net_tx_bytes},
        {"netRxPackets", counters->net_rx_packets},   {"netTxPackets", counters->net_tx_packets},
    };

    json_open(out, "counters", '{');
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        json_add_int(out, list[i].name, list[i].value > INT64_MAX ? INT64_MAX : (int64_t)list[i].value);
    json_close(out, '}');
}

static struct instance *vmm_of(struct engine *engine, const struct sandbox *sandbox)
{
    struct instance *vmm;

    index_lock(engine->index);
    vmm = host_vmm(sandbox->host, sandbox->record->vmm.plugin);
    index_unlock(engine->index);
    return vmm;
}

void stats_add_counters(struct engine *engine, struct runner_call *call, const struct sandbox *sandbox, struct str *out)
{
    struct instance *vmm = vmm_of(engine, sandbox);
    const char *id = sandbox->record->id;
    auto_free char *dir = host_sandbox_dir(sandbox->host, id), *socket = host_socket_path(sandbox->host, id);
    const struct runner_vm vm = {.size = sizeof vm, .id = id, .dir = dir, .socket_path = socket};
    struct runner_vm_counters counters = {.size = sizeof counters};
    struct runner_error err = ERROR_INIT;

    if (vmm != NULL && vmm->plugin->desc.caps & RUNNER_VMM_CAP_COUNTERS &&
        INSTANCE_CALL(vmm, vmm, counters, call, &vm, &counters, &err) == 0)
        add_counters(&counters, out);
}
