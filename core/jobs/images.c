/* The jobs about snapshots (contract 2.7, 7.3): each on a worker, since a storage answers when it answers. */
#include "core/images/request.h"
#include "core/jobs/parts.h"
#include "core/util/error.h"
#include "core/util/text.h"

#define INSPECT_MS 25000 /* the API gives up 30 s after it made the job */

struct image_job {
    struct task task;
    struct agent *agent;
    struct job *job;
    struct runner_call call;
    struct pull_request request; /* inspection: from only */
    int (*run)(struct image_job *, struct str *result, struct runner_error *);
};

static struct images *images_of(struct image_job *j)
{
    return j->call.host->images;
}

static int pull(struct image_job *j, struct str *result, struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct image_wish wish;

    pull_request_wish(&j->request, &wish);
    if (images_fetch(images_of(j), &j->call, &wish, err) < 0 ||
        snapshot_find(&j->call, j->call.host->config->root, wish.ref, &snapshot, err) < 0)
        return -1;
    image_add_snapshot(snapshot, result);
    return 0;
}

static int inspect(struct image_job *j, struct str *result, struct runner_error *err)
{
    struct runner_object_info info = {.size = sizeof info};

    if (images_inspect(images_of(j), &j->call, &j->request.from, &info, err) < 0)
        return -1;
    image_add_info(&info, result);
    return 0;
}

static int remove_ref(struct image_job *j, struct str *result, struct runner_error *err)
{
    bool is_kept; /* which is fine as well (contract 7.7) */

    (void)result;
    return images_remove(images_of(j), &j->call, j->job->resource, &is_kept, err);
}

void image_job_add_progress(const struct agent *agent, const struct job *job, struct str *out)
{
    struct images *images = engine_pick_host(agent->config.engine)->images;
    const char *ref = json_text(job->payload, "snapshot", NULL);
    struct image_progress progress;

    if (ref == NULL || !images_progress(images, ref, &progress))
        return;
    json_open(out, "pull", '{');
    image_add_progress(&progress, out);
    json_close(out, '}');
}

static void image_job_free(struct image_job *j)
{
    pull_request_done(&j->request);
    call_done(&j->call);
    free(j);
}

/* A runner that stops tells nothing of what it broke off: the next one finds the job. */
static void run(struct task *task)
{
    struct image_job *j = (struct image_job *)task;
    struct runner_error err = ERROR_INIT;
    auto_str struct str result = STR_INIT;
    int status = host_wait_up(j->call.host, &j->call, &err);

    if (status == 0)
        status = j->run(j, &result, &err);
    if (status == 0) {
        job_complete(j->job, result.len > 0 ? str_steal(&result) : NULL);
        agent_job_ended(j->agent, j->job);
    } else if (!pool_is_draining(j->agent->config.engine->pool)) {
        executor_end(j->agent, j->job, &err);
    }
    image_job_free(j);
}

static struct image_job *image_job_new(struct agent *agent, struct job *job, int64_t timeout_ms)
{
    struct image_job *j = mem_alloc(sizeof *j);

    j->task.run = run;
    j->agent = agent;
    j->job = job;
    call_init(&j->call, engine_pick_host(agent->config.engine), NULL, timeout_ms);
    return j;
}

static int submit(struct image_job *j, struct runner_error *err)
{
    if (pool_submit(j->agent->config.engine->pool, NULL, &j->task, POOL_COUNTED, err) == 0)
        return 0;
    image_job_free(j);
    return -1;
}

int image_job_pull(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct image_job *j = image_job_new(agent, job, agent->config.engine->config->timeouts.pull_ms);

    j->run = pull;
    if (pull_request_read(job->payload, &j->request, err) == 0)
        return submit(j, err);
    image_job_free(j);
    return -1;
}

int image_job_inspect(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct image_job *j = image_job_new(agent, job, INSPECT_MS);

    j->run = inspect;
    if (image_object_read(job->payload, &j->request.from, err) == 0)
        return submit(j, err);
    image_job_free(j);
    return -1;
}

int image_job_remove(struct agent *agent, struct job *job, struct runner_error *err)
{
    struct image_job *j;

    if (!text_is_ref(job->resource))
        return fail(err, RUNNER_E_INVALID, 0, "resourceId: '%.100s' is not a snapshot reference", job->resource);
    j = image_job_new(agent, job, agent->config.engine->config->timeouts.request_ms);
    j->run = remove_ref;
    return submit(j, err);
}
