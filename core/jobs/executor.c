/* From a job to an operation, and from its end to an outcome. What is not built fails, and says so. */
#include <string.h>

#include "core/create-request.h"
#include "core/images/request.h"
#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/op.h"
#include "core/recover-request.h"
#include "core/resize-request.h"
#include "core/start-request.h"
#include "core/util/recoverable.h"
#include "core/util/text.h"

struct doing {
    struct agent *agent;
    struct job *job;
};

void executor_end(struct agent *agent, struct job *job, const struct runner_error *err)
{
    auto_str struct str text = STR_INIT;

    if (err == NULL || err->code == 0) {
        job_complete(job, NULL);
    } else if (recoverable_is(err->message) && job->type != JOB_CREATE_SANDBOX) { /* of a create nothing is kept */
        recoverable_add(&text, err->message);
        job_fail(job, str_text(&text));
    } else {
        job_fail(job, err->message);
    }
    agent_job_ended(agent, job);
}

/* A paused sandbox that could not be paused has no way out of that state at the API (contract 2.7): its next start
 * makes it right, whatever is left of it. */
static bool forgives(const struct job *job)
{
    return job->type == JOB_PAUSE_SANDBOX;
}

static char *daemon_version(const struct op *op)
{
    auto_str struct str text = STR_INIT;

    if (op->daemon_version == NULL)
        return NULL;
    json_open(&text, NULL, '{');
    json_add_text(&text, "daemonVersion", op->daemon_version);
    json_close(&text, '}');
    return str_steal(&text);
}

static void take_phases(struct job *job, const struct op *op)
{
    int64_t at_us = op->started_us;

    job->phases[job->n_phases++] = (struct job_phase){"queue", op->queued_us, op->started_us - op->queued_us};
    for (size_t i = 0; i < op->n_timings && job->n_phases < JOB_PHASES_MAX; i++) {
        job->phases[job->n_phases++] = (struct job_phase){op->timings[i].phase, at_us, op->timings[i].us};
        at_us += op->timings[i].us;
    }
}

/* Worker. */
static void on_done(struct op *op, void *ctx)
{
    struct doing *doing = ctx;
    struct agent *agent = doing->agent;
    struct job *job = doing->job;

    free(doing);
    take_phases(job, op);
    if (op->is_refused && op->err.code != 0) /* the API has it IN_PROGRESS, so the next runner finds it */
        return;
    if (op->err.code != 0 && !forgives(job)) {
        executor_end(agent, job, &op->err);
        return;
    }
    if (op->err.code != 0)
        log_event(RUNNER_LOG_ERROR, "job.forgiven", "job", job->id, "type", job->name, "id", op->id, "error",
                  op->err.message, NULL);
    job->is_told_twice = op->type == &op_resume;
    job_complete(job, daemon_version(op));
    agent_job_ended(agent, job);
}

static int submit(struct agent *agent, struct job *job, struct op *op, struct runner_error *err)
{
    struct doing *doing = mem_alloc(sizeof *doing);

    doing->agent = agent;
    doing->job = job;
    op->done = on_done;
    op->ctx = doing;
    op->job = job->id;
    if (op_submit(op, err) == 0)
        return 0;
    free(doing);
    op_free(op);
    return -1;
}

/* ---- what each type asks for ---- */

typedef executor_begin_fn begin_fn;

static int begin_create(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct engine *engine = agent->config.engine;
    struct record *plan = NULL;
    const char *field = "";
    struct op *op;

    if (create_request_plan(engine->config, engine_pick_host(engine)->config, job->payload, &plan, &field, err) < 0)
        return err->code == RUNNER_E_INVALID ? error_wrap(err, "%s", field) : -1;
    op = op_new_create(engine, plan);
    if (start_request_token(json_get(job->payload, "authToken"), &op->auth_token, err) < 0 ||
        image_source_read(job->payload, plan->snapshot, &op->source, err) < 0) {
        op_free(op);
        return -1;
    }
    return submit(agent, job, op, err);
}

/* Of the sandbox that the job is about, or NULL. */
static struct op *new_op(struct agent *agent, struct job *job, enum op_kind kind, struct runner_error *err)
{
    if (text_is_id(job->resource))
        return op_new(agent->config.engine, kind, job->resource);
    (void)fail(err, RUNNER_E_INVALID, 0, "resourceId: '%.80s' is not the id of a sandbox", job->resource);
    return NULL;
}

static int begin_op(struct agent *agent, struct job *job, enum op_kind kind, struct runner_error *err)
{
    struct op *op = new_op(agent, job, kind, err);

    if (op == NULL)
        return -1;
    op->force = kind == OP_STOP && json_bool(job->payload, "force", false);
    return submit(agent, job, op, err);
}

/* The values are text, that of the volumes holds JSON. They repeat what the sandbox was made with, so that a start is
 * not refused for what this runner's create would have refused (contract 9.1: what fails there is logged). */
static void warn_of_metadata(const struct job *job)
{
    const struct json *metadata = json_get(job->payload, "metadata");
    const char *volumes = json_text(metadata, "volumes", "");

    if (volumes[0] != '\0' && strcmp(volumes, "[]") != 0)
        log_event(RUNNER_LOG_WARN, "start.without_volumes", "id", job->resource, "job", job->id, "note",
                  "volumes are not supported yet: none is mounted", NULL);
}

static int begin_start(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct op *op = new_op(agent, job, OP_START, err);

    if (op == NULL)
        return -1;
    if (start_request_metadata(json_get(job->payload, "metadata"), &op->metadata, err) < 0 ||
        start_request_token(json_get(job->payload, "authToken"), &op->auth_token, err) < 0) {
        op_free(op);
        return -1;
    }
    warn_of_metadata(job);
    return submit(agent, job, op, err);
}

static int begin_stop(struct agent *agent, struct job *job, struct runner_error *err)
{
    return begin_op(agent, job, OP_STOP, err);
}

static int begin_pause(struct agent *agent, struct job *job, struct runner_error *err)
{
    return begin_op(agent, job, OP_PAUSE, err);
}

static int begin_destroy(struct agent *agent, struct job *job, struct runner_error *err)
{
    return begin_op(agent, job, OP_DESTROY, err);
}

static int begin_recover(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct op *op = new_op(agent, job, OP_REPAIR, err);

    if (op == NULL)
        return -1;
    if (recover_request_read(job->payload, &op->is_full, err) < 0) {
        op_free(op);
        return -1;
    }
    return submit(agent, job, op, err);
}

static int begin_resize(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct engine *engine = agent->config.engine;
    struct resize to;
    struct op *op;

    if (resize_request_read(engine->config, engine_pick_host(engine)->config, job->payload, &to, err) < 0 ||
        (op = new_op(agent, job, OP_RESIZE, err)) == NULL)
        return -1;
    op->resize = to;
    return submit(agent, job, op, err);
}

static int begin_policy(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct op *op = new_op(agent, job, OP_POLICY, err);
    const char *field = "";

    if (op == NULL)
        return -1;
    if (policy_change_read(job->payload, &op->change, &field, err) < 0) {
        op_free(op);
        return error_wrap(err, "%s", field);
    }
    return submit(agent, job, op, err);
}

static const struct {
    begin_fn *begin; /* NULL: not built */
    bool needs_payload;
} kinds[JOB_TYPES] = {
    [JOB_CREATE_SANDBOX] = {begin_create, true},    [JOB_START_SANDBOX] = {begin_start, false},
    [JOB_STOP_SANDBOX] = {begin_stop, false},       [JOB_PAUSE_SANDBOX] = {begin_pause, false},
    [JOB_DESTROY_SANDBOX] = {begin_destroy, false}, [JOB_RECOVER_SANDBOX] = {begin_recover, false},
    [JOB_RESIZE_SANDBOX] = {begin_resize, true},    [JOB_UPDATE_SANDBOX_NETWORK_SETTINGS] = {begin_policy, true},
    [JOB_PULL_SNAPSHOT] = {image_job_pull, true},   [JOB_REMOVE_SNAPSHOT] = {image_job_remove, false},
    [JOB_INSPECT_SNAPSHOT_IN_REGISTRY] = {image_job_inspect, true},
};

static int begin(struct agent *agent, struct job *job, struct runner_error *err)
{
    if (job->type == JOB_TYPES)
        return fail(err, RUNNER_E_NOTSUP, 0, "unknown job type: %s", job->name);
    if (kinds[job->type].begin == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "jobs of type %s are not supported yet", job->name);
    if (job->payload_problem != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "%s", job->payload_problem);
    if (kinds[job->type].needs_payload && job->payload == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "payload is required");
    return kinds[job->type].begin(agent, job, err);
}

void executor_begin(struct agent *agent, struct job *job)
{
    struct runner_error err = ERROR_INIT;

    log_event(RUNNER_LOG_DEBUG, "job.begin", "job", job->id, "type", job->name, "resource", job->resource, NULL);
    if (begin(agent, job, &err) < 0 && !pool_is_draining(agent->config.engine->pool)) /* the next runner finds it */
        executor_end(agent, job, &err);
}
