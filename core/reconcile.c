#include "core/reconcile.h"

#include <string.h>

#include "core/batch.h"
#include "core/figures.h"
#include "core/log.h"
#include "core/mend.h"
#include "core/op.h"
#include "core/takeover.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define RECORDS_A_BATCH 64
#define BRING_UP_MS     120000

struct bring_up {
    struct task task;
    struct engine *engine;
    struct host *host;
    struct runner_call call;
    size_t n_found, n_foreign, n_unreadable;
    char **foreign; /* ids of directories without a record: looked at when all records have what is theirs */
    size_t n_foreign_ids;
};

/* What cannot be read is kept as it is, shown as an error, and removed only when somebody asks for that. Its recovery
 * reads it again, until it can. */
static void add_unreadable(struct bring_up *b, const char *id, const char *why)
{
    struct record *record = record_new(id);
    struct sandbox *sandbox;

    record->state = SANDBOX_ERROR;
    record->error = mem_dup(why);
    record->snapshot = mem_dup("unknown");
    record->cpus = 1;
    record->memory_bytes = 1;
    sandbox = index_add(b->engine->index, b->host, record);
    index_set_unread(b->engine->index, sandbox, true);
    index_put(b->engine->index, sandbox);
    b->n_unreadable++;
    log_event(RUNNER_LOG_ERROR, "reconcile.unreadable", "id", id, "error", why, NULL);
}

int reconcile_adopt(struct host *host, struct runner_call *call, const struct record *record, struct runner_error *err)
{
    const struct runner_nic *nic = &record->nic;

    if (host->uids != NULL)
        uids_adopt(host->uids, record->vmm.uid);
    if (nic->size == 0)
        return 0;
    if (host_plugin(host, RUNNER_IPAM) != NULL && nic->kind != RUNNER_NIC_USER && nic->address[0] != '\0' &&
        HOST_CALL(host, RUNNER_IPAM, ipam, adopt, record->id, nic->address, err) < 0)
        return -1;
    if (nic->kind == 0)
        return 0;
    return HOST_CALL(host, RUNNER_NETWORK, network, adopt, call, record->id, nic, err);
}

/* ---- half-written files ---- */

/* The name that RUNNER_WRITE has for a file until it is whole. */
static bool is_draft(const char *name)
{
    return text_starts(name, ".tmp-", NULL);
}

static void add_drafts(struct runner_batch *clean, const char *dir, const struct runner_result *names)
{
    for (const char *p = names->out; p != NULL && p < names->out + names->len; p += strlen(p) + 1) {
        auto_free char *path = mem_printf("%s/%s", dir, p);
        struct runner_step drop = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

        if (is_draft(p))
            (void)batch_add(clean, &drop, NULL);
    }
}

/* What a runner was writing when it was killed. */
static void drop_drafts(struct bring_up *b, const char *const *dirs, size_t n)
{
    auto_batch struct runner_batch *look = batch_new(&b->call), *clean = batch_new(&b->call);
    struct runner_error err = ERROR_INIT;

    for (size_t i = 0; i < n; i++) {
        struct runner_step list = {
            .size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = dirs[i]};

        if (batch_add(look, &list, &err) < 0)
            return;
    }
    if (batch_run(&b->call, look, &err) == 0)
        for (size_t i = 0; i < n; i++)
            add_drafts(clean, dirs[i], batch_result(look, (int)i));
    if (err.code != 0 || (batch_length(clean) > 0 && batch_run(&b->call, clean, &err) < 0))
        log_event(RUNNER_LOG_WARN, "reconcile.drafts", "host", b->host->config->name, "error", err.message, NULL);
}

/* ---- records ---- */

static bool is_empty(const struct runner_result *names)
{
    for (const char *p = names->out; p != NULL && p < names->out + names->len; p += strlen(p) + 1)
        if (!is_draft(p))
            return false;
    return true;
}

/* A directory that is empty is what a create killed at its first steps leaves, or a destroy at its last. */
static bool is_leftover(struct bring_up *b, const char *id)
{
    auto_free char *dir = host_sandbox_dir(b->host, id);
    auto_batch struct runner_batch *look = batch_new(&b->call), *clean = batch_new(&b->call);
    struct runner_step list = {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .path = dir};
    struct runner_step drop = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir};
    struct runner_error err = ERROR_INIT;

    if (batch_run_step(&b->call, look, &list, &err) < 0)
        return true; /* no directory */
    if (!is_empty(batch_result(look, 0)))
        return false;
    if (batch_run_step(&b->call, clean, &drop, &err) < 0)
        log_event(RUNNER_LOG_WARN, "reconcile.leftover", "dir", dir, "error", err.message, NULL);
    return true;
}

/* ---- sandboxes of another runner: see core/op-takeover.c ---- */

/* A record in memory, until it is taken over or for as long as it cannot be. */
static void add_foreign(struct bring_up *b, const char *id, const struct foreign *foreign, const struct runner_nic *nic,
                        const char *problem)
{
    struct record *record = record_new(id);
    struct sandbox *sandbox;

    record->state = problem != NULL ? SANDBOX_ERROR : SANDBOX_UNKNOWN;
    record->error = mem_dup(problem);
    record->snapshot = mem_dup("unknown");
    record->cpus = foreign->cpus != 0 ? foreign->cpus : 1;
    record->memory_bytes = foreign->memory_bytes != 0 ? foreign->memory_bytes : 1;
    record->nic = *nic;
    sandbox = index_add(b->engine->index, b->host, record);
    sandbox->is_foreign = true; /* nobody uses it before the host is up */
    index_put(b->engine->index, sandbox);
    b->n_foreign++;
    if (problem != NULL)
        log_event(RUNNER_LOG_ERROR, "reconcile.not_taken_over", "id", id, "error", problem, NULL);
}

/* Its address and, when that is known, its TAP are its own before anybody can ask for one. */
static void take_foreign(struct bring_up *b, const char *id)
{
    auto_free char *dir = host_sandbox_dir(b->host, id);
    auto_foreign struct foreign foreign = FOREIGN_INIT;
    struct runner_error err = ERROR_INIT;
    struct runner_nic nic = {.size = 0};
    int status = takeover_read(&b->call, id, &foreign, &err);

    if (status > 0) {
        log_event(RUNNER_LOG_WARN, "reconcile.foreign", "dir", dir, "note", "no sandbox: left alone", NULL);
        return;
    }
    if (status == 0)
        status = takeover_lease(&b->call, id, &foreign, &nic, &err);
    if (status == 0 && nic.name[0] != '\0')
        status = HOST_CALL(b->host, RUNNER_NETWORK, network, adopt, &b->call, id, &nic, &err);
    add_foreign(b, id, &foreign, &nic, status < 0 ? err.message : NULL);
}

static void take_all_foreign(struct bring_up *b)
{
    for (size_t i = 0; i < b->n_foreign_ids; i++) {
        take_foreign(b, b->foreign[i]);
        free(b->foreign[i]);
    }
    free(b->foreign);
    b->foreign = NULL;
}

/* Others without a record are looked at last. */
static void no_record(struct bring_up *b, const char *id)
{
    if (is_leftover(b, id))
        return;
    b->foreign = mem_grow(b->foreign, b->n_foreign_ids + 1, sizeof *b->foreign);
    b->foreign[b->n_foreign_ids++] = mem_dup(id);
}

static void take_record(struct bring_up *b, const char *id, const struct runner_result *result)
{
    struct runner_error err = ERROR_INIT;
    struct record *record = NULL;

    if (result->status == 1)
        no_record(b, id);
    else if (record_parse(result->out, result->len, id, &record, &err) < 0)
        add_unreadable(b, id, err.message);
    else {
        if (reconcile_adopt(b->host, &b->call, record, &err) < 0) {
            log_event(RUNNER_LOG_ERROR, "reconcile.adopt_failed", "id", id, "error", err.message, NULL);
            b->n_unreadable++;
        }
        index_put(b->engine->index, index_add(b->engine->index, b->host, record));
        b->n_found++;
    }
}

/* In one round trip; -1: at least one cannot be read, and none is taken. */
static int read_together(struct bring_up *b, const char *const *ids, size_t n, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(&b->call);

    for (size_t i = 0; i < n; i++) {
        auto_free char *path = host_sandbox_path(b->host, ids[i], "runner.json");
        struct runner_step step = {.size = RUNNER_STEP_INIT,
                                   .kind = RUNNER_READ,
                                   .flags = RUNNER_S_OPTIONAL,
                                   .path = path,
                                   .number = RECORD_MAX};
        if (batch_add(batch, &step, err) < 0)
            return -1;
    }
    if (batch_run(&b->call, batch, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        take_record(b, ids[i], batch_result(batch, (int)i));
    return 0;
}

/* When they cannot be read together each is read alone, so that one bad file hides no other, and what was out of order
 * for a moment costs nobody an address or a TAP that only the record knows. */
static void read_records(struct bring_up *b, const char *const *ids, size_t n)
{
    struct runner_error err = ERROR_INIT;

    if (read_together(b, ids, n, &err) == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        error_clear(&err);
        if (read_together(b, ids + i, 1, &err) < 0)
            add_unreadable(b, ids[i], err.message);
    }
}

static void read_some(struct bring_up *b, const char *const *ids, size_t n)
{
    char *dirs[RECORDS_A_BATCH] = {NULL};

    for (size_t i = 0; i < n; i++)
        dirs[i] = host_sandbox_dir(b->host, ids[i]);
    drop_drafts(b, (const char *const *)dirs, n);
    for (size_t i = 0; i < n; i++)
        free(dirs[i]);
    read_records(b, ids, n);
}

static int read_all(struct bring_up *b, struct runner_error *err)
{
    auto_free char *root = mem_printf("%s/sandboxes", b->host->config->root);
    auto_batch struct runner_batch *batch = batch_new(&b->call);
    struct runner_step dirs[2] = {
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .flags = RUNNER_S_PARENTS, .path = root, .number = 0711},
        {.size = RUNNER_STEP_INIT,
         .kind = RUNNER_MKDIR,
         .flags = RUNNER_S_PARENTS,
         .path = b->host->config->run_dir,
         .number = 0700}};
    struct runner_step open = {.size = RUNNER_STEP_INIT, .kind = RUNNER_OWN, .path = root, .number = 0711};
    struct runner_step list = {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .path = root};
    const char *ids[RECORDS_A_BATCH];
    const struct runner_result *names;
    size_t n = 0;

    if (batch_add(batch, &dirs[0], err) < 0 || batch_add(batch, &dirs[1], err) < 0 ||
        batch_add(batch, &open, err) < 0 || batch_add(batch, &list, err) < 0 || batch_run(&b->call, batch, err) < 0)
        return -1;
    drop_drafts(b, (const char *const[]){b->host->config->root}, 1);
    names = batch_result(batch, 3);
    for (const char *name = names->out; name != NULL && name < names->out + names->len; name += strlen(name) + 1) {
        if (!text_is_id(name))
            continue;
        ids[n++] = name;
        if (n == ARRAY_LEN(ids)) {
            read_some(b, ids, n);
            n = 0;
        }
    }
    read_some(b, ids, n);
    take_all_foreign(b);
    return 0;
}

/* As a user of a VMM: 0, or -1 with why not. */
static int run_as(struct bring_up *b, const char *const *argv, const char *expected, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(&b->call);
    const uint32_t uid = b->host->config->first_uid;
    const struct runner_spawn user = {.size = sizeof user, .uid = uid, .gid = uid};
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv, .spawn = &user, .number = 10000};

    if (batch_run_step(&b->call, batch, &step, err) < 0)
        return -1;
    if (expected != NULL && strcmp(batch_result(batch, 0)->out, expected) != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "only root can start processes as another user");
    return 0;
}

/* A VMM that runs as a user of its own must be able to reach its sandbox. */
static void try_uids(struct bring_up *b)
{
    auto_free char *root = mem_printf("%s/sandboxes", b->host->config->root);
    auto_free char *uid_line = mem_printf("%u\n", b->host->config->first_uid);
    const char *const who[] = {"id", "-u", NULL}, *const reach[] = {"test", "-x", root, NULL};
    struct runner_error err = ERROR_INIT;

    if (b->host->uids == NULL)
        return;
    if (run_as(b, who, uid_line, &err) == 0) {
        if (run_as(b, reach, NULL, &err) == 0)
            return;
        (void)fail(&err, RUNNER_E_NOTSUP, 0, "other users cannot reach '%s': a directory above it lacks the mode bit o+x", root);
    }
    host_set_uid_problem(b->host, err.message);
    log_event(RUNNER_LOG_WARN, "host.unconfined", "host", b->host->config->name, "reason", err.message, "note",
              "VMMs run as the runner's user", NULL);
}

/* What is not known limits nothing: that is worth a word. */
static void learn_capacity(struct bring_up *b)
{
    static const char *const sources[RESOURCES] = {[RESOURCE_CPUS] = "/sys/devices/system/cpu/online",
                                                   [RESOURCE_MEMORY] = "/proc/meminfo",
                                                   [RESOURCE_DISK] = "the file system of root"};
    struct figures figures;

    figures_refresh(b->engine, &b->call, &figures);
    for (int i = 0; i < RESOURCES; i++)
        if (sources[i] != NULL && figures.has.of[i] == 0)
            log_event(RUNNER_LOG_WARN, "host.capacity_unknown", "host", b->host->config->name, "resource",
                      capacity_refusal_name(i), "unreadable", sources[i], NULL);
}

struct recovery {
    struct engine *engine;
    const struct host *host;
};

/* Under the index's lock: only queues. */
static void recover(const struct sandbox *sandbox, void *ctx)
{
    struct recovery *recovery = ctx;
    struct runner_error err = ERROR_INIT;
    struct op *op;

    if (sandbox->host != recovery->host || sandbox->record->state == SANDBOX_STOPPED ||
        (sandbox->record->state == SANDBOX_ERROR && !sandbox->is_unread))
        return;
    op = op_new(recovery->engine, OP_RECOVER, sandbox->record->id);
    if (op_submit(op, &err) < 0)
        op_free(op);
}

/* What goes wrong as a whole goes wrong before anything is known of a sandbox. */
static void bring_up(struct bring_up *b)
{
    struct recovery recovery = {b->engine, b->host};
    struct runner_error err = ERROR_INIT;
    char found[32], foreign[32], ms[32];
    int64_t begin_ms = num_now_ms();

    if (HOST_CALL(b->host, RUNNER_NETWORK, network, setup, &b->call, &err) < 0 || read_all(b, &err) < 0) {
        log_event(RUNNER_LOG_ERROR, "host.down", "host", b->host->config->name, "error", err.message, NULL);
        host_set_up(b->host, err.message);
    } else {
        learn_capacity(b);
        try_uids(b);
        mend_sweep(b->engine, b->host, &b->call, b->n_unreadable > 0, b->n_foreign > 0);
        index_each(b->engine->index, recover, &recovery); /* operations queued earlier go behind them, see op.c */
        host_set_up(b->host, NULL);
        (void)snprintf(found, sizeof found, "%zu", b->n_found);
        (void)snprintf(foreign, sizeof foreign, "%zu", b->n_foreign);
        (void)snprintf(ms, sizeof ms, "%lld", (long long)(num_now_ms() - begin_ms));
        log_event(RUNNER_LOG_INFO, "host.up", "host", b->host->config->name, "sandboxes", found, "foreign", foreign,
                  "ms", ms, NULL);
    }
    (void)host_check(b->host, &b->call, NULL);
    call_done(&b->call);
}

static void run(struct task *task)
{
    bring_up((struct bring_up *)task);
    free(task);
}

void reconcile_again(struct engine *engine, struct host *host, struct runner_call *call)
{
    struct bring_up b = {.engine = engine, .host = host};

    call_init_child(&b.call, call, BRING_UP_MS);
    host_set_coming(host);
    bring_up(&b);
}

void reconcile_start(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct bring_up *b = mem_alloc(sizeof *b);

        b->task.run = run;
        b->engine = engine;
        b->host = engine->hosts[i];
        call_init(&b->call, b->host, NULL, BRING_UP_MS);
        (void)pool_submit(engine->pool, NULL, &b->task, POOL_INTERNAL, NULL);
    }
}
