#include "core/trim.h"

#include <string.h>

#include "core/batch.h"
#include "core/log.h"
#include "core/util/error.h"

#define KEEP_BYTES  (4 << 20)
#define SLACK_BYTES (12 << 20) /* more than that has come since the last time */
#define IDS_A_BATCH 256
#define TRIM_MS     30000

/* What a guest fills, and what its VMM does, which says more the more a guest troubles it. */
static const char *const files[SANDBOX_LOGS] = {"serial.log", "vmm.log"};

struct trim {
    struct task task;
    struct engine *engine;
};

typedef char id_text[64];

static bool collect_started(const struct sandbox *sandbox, void *element, void *host)
{
    if (sandbox->host != host || sandbox->record->state != SANDBOX_STARTED)
        return false;
    (void)snprintf(element, sizeof(id_text), "%s", sandbox->record->id);
    return true;
}

/* What is there stays where it is, and what was before it becomes a hole: the VMM writes on. */
static void punch(struct runner_call *call, struct sandbox *sandbox, int file, const char *path, int64_t size)
{
    auto_free char *length = mem_printf("%lld", (long long)(size - KEEP_BYTES));
    auto_batch struct runner_batch *batch = batch_new(call);
    const char *const argv[] = {"fallocate", "--punch-hole", "--offset", "0", "--length", length, path, NULL};
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv, .number = TRIM_MS};
    struct runner_error err = ERROR_INIT;

    sandbox->trimmed[file] = size - KEEP_BYTES; /* whether it worked or not: no try every few seconds */
    if (batch_run_step(call, batch, &step, &err) < 0)
        log_event(RUNNER_LOG_WARN, "trim.failed", "id", call->id, "file", path, "error", err.message, NULL);
}

static void look(struct engine *engine, const char *id, int file, const char *path, int64_t size)
{
    struct sandbox *sandbox = index_get(engine->index, id);
    struct runner_call call;

    if (sandbox == NULL)
        return;
    if (size < sandbox->trimmed[file]) /* begun anew */
        sandbox->trimmed[file] = 0;
    if (size - sandbox->trimmed[file] > KEEP_BYTES + SLACK_BYTES) {
        call_init(&call, sandbox->host, id, TRIM_MS);
        punch(&call, sandbox, file, path, size);
        call_done(&call);
    }
    index_put(engine->index, sandbox);
}

static void look_at(struct engine *engine, struct host *host, id_text *ids, size_t n)
{
    struct runner_call call;
    struct runner_batch *batch;
    char *paths[IDS_A_BATCH * SANDBOX_LOGS];

    call_init(&call, host, NULL, TRIM_MS);
    batch = batch_new(&call);
    for (size_t i = 0; i < n * SANDBOX_LOGS; i++) {
        paths[i] = host_sandbox_path(host, ids[i / SANDBOX_LOGS], files[i % SANDBOX_LOGS]);
        (void)batch_add(batch, &(struct runner_step){.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = paths[i]},
                        NULL);
    }
    if (batch_run(&call, batch, NULL) == 0)
        for (size_t i = 0; i < n * SANDBOX_LOGS; i++)
            if (batch_result(batch, (int)i)->status == 0)
                look(engine, ids[i / SANDBOX_LOGS], (int)(i % SANDBOX_LOGS), paths[i],
                     batch_result(batch, (int)i)->number);
    for (size_t i = 0; i < n * SANDBOX_LOGS; i++)
        free(paths[i]);
    batch_free(batch);
    call_done(&call);
}

static void look_on(struct engine *engine, struct host *host)
{
    size_t n;
    auto_free id_text *ids = index_map(engine->index, sizeof(id_text), collect_started, host, &n);

    for (size_t i = 0; i < n; i += IDS_A_BATCH)
        look_at(engine, host, ids + i, n - i < IDS_A_BATCH ? n - i : IDS_A_BATCH);
}

static void run(struct task *task)
{
    struct engine *engine = ((struct trim *)task)->engine;

    for (size_t i = 0; i < engine->n_hosts; i++)
        look_on(engine, engine->hosts[i]);
    free(task);
    atomic_store(&engine->is_trimming, false);
}

void trim_start(struct engine *engine)
{
    struct trim *trim;

    if (index_count(engine->index) == 0 || atomic_exchange(&engine->is_trimming, true))
        return;
    trim = mem_alloc(sizeof *trim);
    trim->task.run = run;
    trim->engine = engine;
    if (pool_submit(engine->pool, NULL, &trim->task, POOL_ASKED, NULL) == 0)
        return;
    free(trim);
    atomic_store(&engine->is_trimming, false);
}
