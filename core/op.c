#include "core/op.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "core/log.h"
#include "core/reaper.h"
#include "core/start-request.h"
#include "core/util/error.h"
#include "core/util/num.h"

static const struct op_type *const types[OP_KINDS] = {
    [OP_CREATE] = &op_create, [OP_START] = &op_start,     [OP_STOP] = &op_stop,         [OP_PAUSE] = &op_pause,
    [OP_RESUME] = &op_resume, [OP_DESTROY] = &op_destroy, [OP_REPAIR] = &op_repair,     [OP_RESIZE] = &op_resize,
    [OP_POLICY] = &op_policy, [OP_EXITED] = &op_exited,   [OP_PANICKED] = &op_panicked, [OP_RECOVER] = &op_recover};

/* What phases of those go on as. */
static const struct op_type *const others[] = {&op_create_stopped, &op_takeover, &op_expand, &op_resize_running};

const char *op_name(enum op_kind kind)
{
    return types[kind]->name;
}

static void list(const struct op_type *type, struct str *out)
{
    str_add(out, type->name);
    for (size_t i = 0; i < type->n_phases; i++)
        str_addf(out, " %s", type->phases[i].name);
    str_add_char(out, '\n');
}

void op_list(struct str *out)
{
    for (int kind = 0; kind < OP_KINDS; kind++)
        list(types[kind], out);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        list(others[i], out);
}

static int64_t timeout_of(const struct config *config, enum op_kind kind)
{
    switch (kind) {
    case OP_CREATE:
        return config->timeouts.create_ms;
    case OP_START:
        return config->timeouts.start_ms;
    case OP_STOP:
    case OP_DESTROY:
    case OP_REPAIR: /* may stop one that runs */
        return config->timeouts.stop_ms;
    default:
        return config->timeouts.request_ms;
    }
}

struct op *op_new(struct engine *engine, enum op_kind kind, const char *id)
{
    struct op *op = mem_alloc(sizeof *op);

    op->engine = engine;
    op->kind = kind;
    op->type = types[kind];
    (void)snprintf(op->id, sizeof op->id, "%s", id);
    op->err.size = sizeof op->err;
    op->host = engine_pick_host(engine);
    call_init(&op->call, op->host, op->id, timeout_of(engine->config, kind));
    return op;
}

struct op *op_new_create(struct engine *engine, struct record *plan)
{
    struct op *op = op_new(engine, OP_CREATE, plan->id);

    op->plan = plan;
    if (json_bool(plan->request, "skipStart", false))
        op->type = &op_create_stopped;
    return op;
}

void op_free(struct op *op)
{
    if (op == NULL)
        return;
    if (op->abandoned != NULL)
        images_abandon_over(op->abandoned, op->id);
    index_put(op->engine->index, op->sandbox);
    record_free(op->plan);
    image_object_wipe(&op->source);
    batch_free(op->begun);
    batch_free(op->batch);
    free(op->daemon_version);
    json_free(op->metadata);
    policy_change_done(&op->change);
    policy_done(&op->policy);
    secret_free(op->auth_token);
    call_done(&op->call);
    free(op);
}

/* ---- those that may be cancelled ---- */

static void register_op(struct op *op)
{
    struct engine *engine = op->engine;

    pthread_mutex_lock(&engine->ops_mutex);
    op->is_listed = true;
    op->prev_running = NULL;
    op->next_running = engine->running;
    if (engine->running != NULL)
        engine->running->prev_running = op;
    engine->running = op;
    pthread_mutex_unlock(&engine->ops_mutex);
}

static void unregister_op(struct op *op)
{
    struct engine *engine = op->engine;

    pthread_mutex_lock(&engine->ops_mutex);
    if (op->is_listed) {
        if (op->prev_running != NULL)
            op->prev_running->next_running = op->next_running;
        else
            engine->running = op->next_running;
        if (op->next_running != NULL)
            op->next_running->prev_running = op->prev_running;
    }
    op->is_listed = false;
    pthread_mutex_unlock(&engine->ops_mutex);
}

void op_cancel_all(struct engine *engine)
{
    pthread_mutex_lock(&engine->ops_mutex);
    for (struct op *op = engine->running; op != NULL; op = op->next_running) {
        op->is_refused = true;
        call_cancel(&op->call);
    }
    pthread_mutex_unlock(&engine->ops_mutex);
}

const char *op_phase_of(struct engine *engine, const char *id)
{
    const char *phase = NULL;

    pthread_mutex_lock(&engine->ops_mutex);
    for (struct op *op = engine->running; op != NULL && phase == NULL; op = op->next_running)
        if (strcmp(op->id, id) == 0)
            phase = atomic_load(&op->phase);
    pthread_mutex_unlock(&engine->ops_mutex);
    return phase;
}

/* ---- the way through the phases ---- */

static void undo(struct op *op, const struct op_type *type, size_t n_done)
{
    struct runner_call *call = &op->call;

    unregister_op(op);
    /* Undoing has time of its own and is not stopped by the cancel that may have caused it. */
    op->is_undoing = true;
    call_done(call);
    call_init(call, op->host, op->id, op->engine->config->timeouts.stop_ms);
    while (n_done-- > 0)
        if (type->phases[n_done].undo != NULL)
            type->phases[n_done].undo(op, &op->err);
}

static void run_phases(struct op *op)
{
    for (size_t i = 0; i < op->type->n_phases; i++) {
        const struct op_type *type = op->type;
        int64_t begin_us = num_now_us();
        int status;

        atomic_store(&op->phase, type->phases[i].name);
        log_event(RUNNER_LOG_DEBUG, "op.phase", "op", type->name, "phase", type->phases[i].name, "id", op->id, NULL);
        status = type->phases[i].run(op, &op->err);
        if (op->n_timings < OP_PHASES_MAX)
            op->timings[op->n_timings++] = (struct op_timing){type->phases[i].name, num_now_us() - begin_us};
        if (status == OP_ENOUGH)
            break;
        if (status == OP_BECOME)
            i = SIZE_MAX; /* wraps to the first phase of the new type */
        if (status < 0) {
            log_event(RUNNER_LOG_DEBUG, "op.phase_failed", "op", type->name, "id", op->id, "phase",
                      type->phases[i].name, "error", op->err.message, NULL);
            undo(op, type, i);
            return;
        }
    }
    error_clear(&op->err);
}

static void report(struct op *op, int64_t us)
{
    bool is_failed = op->err.code != 0;
    auto_str struct str phases = STR_INIT, ms = STR_INIT;

    engine_count_op(&op->engine->stats, op->kind, is_failed, us);
    str_add_thousandths(&ms, (uint64_t)us);
    for (size_t i = 0; i < op->n_timings; i++) {
        str_addf(&phases, "%s%s:", i > 0 ? "," : "", op->timings[i].phase);
        str_add_thousandths(&phases, (uint64_t)op->timings[i].us);
    }
    log_event(is_failed ? RUNNER_LOG_WARN : RUNNER_LOG_INFO, is_failed ? "op.failed" : "op.done", "op",
              op_name(op->kind), "id", op->id, "job", op->job, "ms", str_text(&ms), "phases", str_text(&phases), "error",
              is_failed ? op->err.message : NULL, NULL);
}

static void run(struct task *task);

static int enqueue(struct op *op, enum pool_entry entry, struct runner_error *err)
{
    op->task.run = run;
    op->task.class = op->kind == OP_CREATE || op->kind == OP_START ? TASK_HEAVY : TASK_LIGHT;
    op->queued_us = num_now_us();
    return pool_submit(op->engine->pool, op->id, &op->task, entry, err);
}

/* What nobody asked for: what became of a machine. */
static bool is_internal(const struct op *op)
{
    return op->kind == OP_EXITED || op->kind == OP_PANICKED || op->kind == OP_RECOVER;
}

/* Asked for while the records were being read, so the recovery of its sandbox is behind it in the lane. */
static bool is_before_recovery(const struct op *op)
{
    return op->kind != OP_RECOVER && op->queued_us <= op->host->up_us;
}

/* Its job was done by a runner that was killed before it told the API. */
static bool is_done(struct op *op)
{
    struct sandbox *sandbox = op->job != NULL ? index_get(op->engine->index, op->id) : NULL;
    bool is_done = sandbox != NULL && sandbox->record->job != NULL && strcmp(sandbox->record->job, op->job) == 0;

    if (is_done)
        op->daemon_version = mem_dup(sandbox->record->daemon_version);
    if (is_done && sandbox->record->state == SANDBOX_STARTED) /* it may have been killed before it told that, too */
        op_tell_token(op, sandbox);
    index_put(op->engine->index, sandbox);
    return is_done;
}

/* A machine that ended and nobody could note it, an operation that got stuck half-way: it is dealt with later, since
 * nobody may ask again. */
static void follow_up(struct op *op)
{
    enum sandbox_state state;
    bool is_due;

    if (op->sandbox == NULL || op->is_refused || op->sandbox->is_foreign) /* which is its owner's to put right */
        return;
    state = op->sandbox->record->state;
    is_due = op->sandbox->is_policy_due || op->sandbox->is_state_due;
    if (op->err.code == 0 && !is_due)
        reaper_settled(op->engine->reaper, op->sandbox);
    else if (is_due || is_internal(op) || state == SANDBOX_STARTING || state == SANDBOX_STOPPING ||
             state == SANDBOX_DESTROYING || (op->is_stuck && state == SANDBOX_CREATING))
        reaper_again(op->engine->reaper, op->sandbox);
}

static void run(struct task *task)
{
    struct op *op = (struct op *)task;
    int status;

    op->started_us = num_now_us();
    /* From now: what ran before it in its lane, or on all workers, has a deadline of its own. */
    op->call.deadline_us = op->started_us + timeout_of(op->engine->config, op->kind) * 1000;
    op->is_refused = !is_internal(op) && pool_is_draining(op->engine->pool);
    status =
        op->is_refused ? fail(&op->err, RUNNER_E_BUSY, 0, "not begun") : host_wait_up(op->host, &op->call, &op->err);
    if (status == 0 && is_before_recovery(op)) {
        (void)enqueue(op, POOL_INTERNAL, NULL); /* it was taken */
        return;
    }
    if (status == 0 && !is_done(op)) {
        register_op(op);
        run_phases(op);
        unregister_op(op);
    }
    if (op->err.code == RUNNER_E_CANCELLED && pool_is_draining(op->engine->pool)) /* its image was */
        op->is_refused = true;
    if (op->is_refused && op->err.code != 0)
        error_wrap(&op->err, "the runner is stopping");
    follow_up(op);
    report(op, num_now_us() - op->started_us);
    if (op->done != NULL)
        op->done(op, op->ctx);
    op_free(op);
}

/* How many jobs there are at once is bounded where they are taken: none fails because others ask for much. */
static enum pool_entry entry_of(const struct op *op)
{
    return is_internal(op) ? POOL_INTERNAL : op->job != NULL ? POOL_COUNTED : POOL_ASKED;
}

/* What is to be destroyed need not get its image first. */
int op_submit(struct op *op, struct runner_error *err)
{
    if (op->kind == OP_DESTROY) {
        op->abandoned = op->host->images;
        images_abandon(op->abandoned, op->id);
    }
    return enqueue(op, entry_of(op), err);
}

int op_find(struct op *op, struct runner_error *err)
{
    if (op->sandbox == NULL)
        op->sandbox = index_get(op->engine->index, op->id);
    if (op->sandbox == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "no sandbox '%s'", op->id);
    op->host = op->sandbox->host;
    op->call.host = op->host;
    if (op->kind == OP_RECOVER || op->kind == OP_REPAIR || op->kind == OP_DESTROY)
        return OP_NEXT;
    if (op->sandbox->is_unread)
        return fail(err, RUNNER_E_BUSY, 0, "the record of sandbox '%s' cannot be read: %s", op->id,
                    op->sandbox->record->error != NULL ? op->sandbox->record->error : "unknown");
    if (op->sandbox->is_foreign)
        return fail(err, RUNNER_E_BUSY, 0, "sandbox '%s' is another runner's, and was not taken over: %s", op->id,
                    op->sandbox->record->error != NULL ? op->sandbox->record->error : "unknown");
    return OP_NEXT;
}

static int add_record(struct op *op, const struct record *record, uint32_t flags, struct runner_error *err)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "runner.json");
    auto_str struct str text = STR_INIT;
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .flags = flags | RUNNER_S_SECRET, .path = path, .number = 0600};

    record_print(record, &text);
    return batch_add_given(op->batch, &step, &text, err) < 0 ? -1 : 0;
}

int op_add_record(struct op *op, uint32_t flags, struct runner_error *err)
{
    return add_record(op, op->sandbox->record, flags, err);
}

/* A state in which an operation leaves a sandbox that did what it was to do. */
static bool is_settled(const struct op *op, enum sandbox_state state)
{
    return !op->is_undoing && (state == SANDBOX_STARTED || state == SANDBOX_STOPPED || state == SANDBOX_PAUSED);
}

static void replace(char **text, const char *by)
{
    char *copy = mem_dup(by);

    free(*text);
    *text = copy;
}

/* Makes it what the index says. */
static void publish(struct op *op, const struct record *next)
{
    struct record *record = op->sandbox->record;

    index_lock(op->engine->index);
    record->state = next->state;
    replace(&record->error, next->error);
    if (next->job != record->job)
        replace(&record->job, next->job);
    if (next->daemon_version != record->daemon_version)
        replace(&record->daemon_version, next->daemon_version);
    if (next->state == SANDBOX_STOPPED || next->state == SANDBOX_ERROR) {
        sandbox_release(op->sandbox);
        op->sandbox->is_state_due = false; /* there is no machine to ask */
    }
    index_unlock(op->engine->index);
}

void op_set_state_due(struct op *op, bool is_due)
{
    index_lock(op->engine->index);
    op->sandbox->is_state_due = is_due;
    index_unlock(op->engine->index);
}

/* The record may have been replaced, and then not have become durable: it says what it said before, as far as it can
 * be. */
static void restore_record(struct op *op)
{
    struct runner_error ignored = ERROR_INIT;

    batch_free(op->batch);
    op->batch = batch_new(&op->call);
    if (op_add_record(op, 0, &ignored) == 0)
        (void)batch_run(&op->call, op->batch, &ignored);
}

/* What it was given on the way to a state that it does not come to. */
static void release_if_stopped(struct op *op)
{
    enum sandbox_state state = op->sandbox->record->state;

    index_lock(op->engine->index);
    if (state == SANDBOX_STOPPED || state == SANDBOX_ERROR)
        sandbox_release(op->sandbox);
    index_unlock(op->engine->index);
}

/* Nobody is told of a state that the end of the runner would take back. */
static int commit(struct op *op, enum sandbox_state state, const char *error, const char *job, struct runner_error *err)
{
    struct record next = *op->sandbox->record; /* what it points to stays: only this operation changes the record */

    next.state = state;
    next.error = (char *)error;
    if (job != NULL && is_settled(op, state))
        next.job = (char *)job;
    if (op->daemon_version != NULL && state == SANDBOX_STARTED)
        next.daemon_version = op->daemon_version;
    batch_free(op->batch);
    op->batch = batch_new(&op->call);
    if (add_record(op, &next, RUNNER_S_SYNC, err) < 0 || batch_run(&op->call, op->batch, err) < 0) {
        restore_record(op);
        release_if_stopped(op);
        return error_wrap(err, "write the record");
    }
    publish(op, &next);
    if (op->is_detached) /* and no record says any more what it had */
        (void)op_release_network(op, NULL);
    op->is_detached = false;
    return OP_NEXT;
}

int op_commit(struct op *op, enum sandbox_state state, const char *error, struct runner_error *err)
{
    return commit(op, state, error, op->job, err);
}

int op_mark(struct op *op, enum sandbox_state state, struct runner_error *err)
{
    return commit(op, state, NULL, NULL, err);
}
