#include "core/view.h"

#include <string.h>
#include <time.h>

#include "core/batch.h"
#include "core/images/request.h"
#include "core/stats.h"
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

/* Whether its create waits for its image. Not under the index's lock. */
static bool is_pulling(struct engine *engine, const struct sandbox *sandbox, struct image_progress *ret)
{
    auto_free char *ref = NULL;

    index_lock(engine->index);
    if (sandbox->record->state == SANDBOX_CREATING && sandbox->record->disk.size_bytes == 0)
        ref = mem_dup(sandbox->record->snapshot);
    index_unlock(engine->index);
    return ref != NULL && images_progress(sandbox->host->images, ref, ret);
}

static bool is_on_its_way(enum sandbox_state state)
{
    return state == SANDBOX_CREATING || state == SANDBOX_STARTING || state == SANDBOX_STOPPING ||
           state == SANDBOX_DESTROYING;
}

static void add_members(struct engine *engine, const struct sandbox *sandbox, bool is_pulling, struct str *out)
{
    const struct record *record = sandbox->record;
    const char *phase = is_on_its_way(record->state) ? op_phase_of(engine, record->id) : NULL;

    json_add_text(out, "id", record->id);
    json_add_text(out, "name", json_text(record->request, "name", record->id));
    json_add_text(out, "state", is_pulling ? "pulling_snapshot" : sandbox_state_name(record->state));
    if (phase != NULL)
        json_add_text(out, "phase", phase);
    json_add_text(out, "snapshot", record->snapshot);
    json_add_int(out, "cpus", record->cpus);
    json_add_real(out, "memoryGiB", (double)record->memory_bytes / GIB);
    json_add_real(out, "diskGiB", (double)record->disk_bytes / GIB);
    json_add_text(out, "address", record->nic.address);
    if (record->nic.guest_address[0] != '\0')
        json_add_text(out, "guestAddress", record->nic.guest_address);
    add_time(out, "createdAt", record->created_ms);
    json_add_text(out, "host", sandbox->host->config->name);
    if (record->daemon_version != NULL && record->state == SANDBOX_STARTED)
        json_add_text(out, "daemonVersion", record->daemon_version);
    if (record->error != NULL)
        json_add_text(out, "error", record->error);
}

typedef char id_text[64];

static bool collect_id(const struct sandbox *sandbox, void *element, void *ctx)
{
    (void)ctx;
    (void)snprintf(element, sizeof(id_text), "%s", sandbox->record->id);
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void look_at(struct engine *engine, const char *id, struct stats_look *ret)
{
    *ret = (struct stats_look){.sandbox = index_get(engine->index, id)};
    if (ret->sandbox == NULL)
        return;
    index_lock(engine->index);
    ret->is_wanted = ret->sandbox->record->state == SANDBOX_STARTED || ret->sandbox->record->state == SANDBOX_PAUSED;
    index_unlock(engine->index);
}

static void add_sandbox(struct engine *engine, struct runner_call *call, const struct stats_look *look, bool with_stats,
                        bool with_counters, struct str *out)
{
    struct image_progress progress;
    bool pulls = is_pulling(engine, look->sandbox, &progress);

    index_lock(engine->index);
    add_members(engine, look->sandbox, pulls, out);
    index_unlock(engine->index);
    if (pulls) {
        json_open(out, "pull", '{');
        image_add_progress(&progress, out);
        json_close(out, '}');
    }
    call->host = look->sandbox->host;
    if (look->pid > 0)
        json_add_int(out, "pid", look->pid);
    if (look->pid > 0 && with_stats)
        stats_add_process(call, look->pid, out);
    if (look->pid > 0 && with_counters)
        stats_add_counters(engine, call, look->sandbox, out);
}

int view_list(struct engine *engine, struct runner_call *call, bool with_stats, struct str *out,
              struct runner_error *err)
{
    auto_free id_text *ids = NULL;
    auto_free struct stats_look *looks = NULL;
    size_t n = 0, n_ids;

    if (wait_up(engine, call, err) < 0)
        return -1;
    ids = index_map(engine->index, sizeof(id_text), collect_id, NULL, &n_ids);
    qsort(ids, n_ids, sizeof(id_text), compare_ids);
    looks = mem_array(n_ids, sizeof *looks);
    for (size_t i = 0; i < n_ids; i++) {
        look_at(engine, ids[i], &looks[n]);
        n += looks[n].sandbox != NULL;
    }
    stats_find_pids(engine, call, looks, n);
    json_open(out, NULL, '{');
    json_open(out, "sandboxes", '[');
    for (size_t i = 0; i < n; i++) {
        json_open(out, NULL, '{');
        add_sandbox(engine, call, &looks[i], with_stats, false, out);
        json_close(out, '}');
        index_put(engine->index, looks[i].sandbox);
    }
    json_close(out, ']');
    json_close(out, '}');
    return 0;
}

/* In error, with a disk that recover keeps. */
static bool is_recoverable(struct engine *engine, const struct sandbox *sandbox)
{
    bool is;

    if (sandbox == NULL)
        return false;
    index_lock(engine->index);
    is = sandbox->record->state == SANDBOX_ERROR && sandbox->record->disk.path != NULL;
    index_unlock(engine->index);
    return is;
}

int view_sandbox(struct engine *engine, struct runner_call *call, const char *id, bool with_stats, struct str *out,
                 struct runner_error *err)
{
    struct stats_look look;

    if (wait_up(engine, call, err) < 0)
        return -1;
    look_at(engine, id, &look);
    json_open(out, NULL, '{');
    if (look.sandbox != NULL) {
        stats_find_pids(engine, call, &look, 1);
        add_sandbox(engine, call, &look, with_stats, with_stats, out);
    } else {
        json_add_text(out, "state", "destroyed");
    }
    json_add_text(out, "backupState", "NONE");
    json_add_bool(out, "recoverable", is_recoverable(engine, look.sandbox));
    json_close(out, '}');
    index_put(engine->index, look.sandbox);
    return 0;
}

static void add_policy(const struct sandbox *sandbox, struct str *out)
{
    const struct policy *policy = &sandbox->record->policy;
    uint64_t caps = host_plugin(sandbox->host, RUNNER_NETWORK)->desc.caps;

    json_add_bool(out, "networkBlockAll", policy->is_blocked);
    json_add_text(out, "networkAllowList", policy->cidrs != NULL ? policy->cidrs : "");
    json_add_text(out, "domainAllowList", policy->domains != NULL ? policy->domains : "");
    json_add_bool(out, "networkLimitEgress", policy->is_restricted);
    json_add_bool(out, "isEnforced", (caps & RUNNER_NETWORK_CAP_POLICY) != 0 && !sandbox->is_policy_due);
}

int view_network(struct engine *engine, struct runner_call *call, const char *id, struct str *out,
                 struct runner_error *err)
{
    struct sandbox *sandbox;

    if (wait_up(engine, call, err) < 0)
        return -1;
    sandbox = index_get(engine->index, id);
    if (sandbox == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no sandbox '%s'", id);
    json_open(out, NULL, '{');
    index_lock(engine->index);
    add_policy(sandbox, out);
    index_unlock(engine->index);
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
    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->len > 0)
        str_add_mem(out, result->out, result->len);
    return 0;
}
