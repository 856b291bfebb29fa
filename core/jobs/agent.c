#include "core/jobs/agent.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/num.h"

#define ABANDONED_US (15 * SECOND_US) /* a poll of the runner before this one lives that long in the API */

bool agent_is_draining(struct agent *agent)
{
    bool is_draining;

    pthread_mutex_lock(&agent->mutex);
    is_draining = agent->is_draining;
    pthread_mutex_unlock(&agent->mutex);
    return is_draining;
}

int64_t agent_jitter(struct agent *agent, int64_t us)
{
    return us + us / 10 * (rand_r(&agent->random) % 201 - 100) / 100;
}

void agent_job_ended(struct agent *agent, struct job *job)
{
    pthread_mutex_lock(&agent->mutex);
    job->next = agent->ended;
    agent->ended = job;
    pthread_mutex_unlock(&agent->mutex);
    client_wake(agent->client);
}

/* In the order in which they ended. */
static struct job *take_ended(struct agent *agent)
{
    struct job *list, *first = NULL;

    pthread_mutex_lock(&agent->mutex);
    list = agent->ended;
    agent->ended = NULL;
    pthread_mutex_unlock(&agent->mutex);
    while (list != NULL) {
        struct job *next = list->next;
        list->next = first;
        first = list;
        list = next;
    }
    return first;
}

static void log_ended(const struct job *job)
{
    const char *trace = job->trace.trace_id[0] != '\0' ? job->trace.trace_id : NULL;
    char ms[24];

    (void)snprintf(ms, sizeof ms, "%lld", (long long)((num_now_us() - job->begun_us) / 1000));
    log_event(job->is_failed ? RUNNER_LOG_WARN : RUNNER_LOG_INFO, job->is_failed ? "job.failed" : "job.completed",
              "job", job->id, "type", job->name, "resource", job->resource, "trace", trace, "ms", ms, "error",
              job->is_failed ? job->error : NULL, NULL);
}

/* Outcomes are on disk before the API hears of them. Where the disk fails they are told all the same. */
static void keep_ended(struct agent *agent)
{
    struct runner_error err = ERROR_INIT;
    size_t n_completed = 0, n_failed = 0;

    for (struct job *job = take_ended(agent), *next; job != NULL; job = next) {
        next = job->next;
        *(job->is_failed ? &n_failed : &n_completed) += 1;
        log_ended(job);
        trace_job(agent->trace, job);
        ledger_end(agent->ledger, job);
    }
    if (ledger_sync(agent->ledger, &err) < 0)
        log_event(RUNNER_LOG_ERROR, "jobs.journal", "error", err.message, NULL);
    pthread_mutex_lock(&agent->mutex);
    agent->stats.jobs_completed += n_completed;
    agent->stats.jobs_failed += n_failed;
    agent->stats.jobs_running = ledger_count(agent->ledger, JOB_RUNNING);
    agent->stats.jobs_untold = ledger_count(agent->ledger, JOB_ENDED);
    agent->stats.spans = trace_stats(agent->trace);
    pthread_mutex_unlock(&agent->mutex);
}

static bool is_over(struct agent *agent, int64_t now_us)
{
    bool is_over;

    pthread_mutex_lock(&agent->mutex);
    is_over =
        agent->is_stopping &&
        (now_us >= agent->stop_us || outage_is_on(&agent->outage) ||
         (agent->ended == NULL && ledger_count(agent->ledger, JOB_ENDED) == 0 && agent->reporter.n_in_flight == 0));
    pthread_mutex_unlock(&agent->mutex);
    return is_over;
}

/* Does what is due; when something will be again. */
static int64_t step(struct agent *agent, int64_t now_us, bool is_last)
{
    static int64_t (*const steps[])(struct agent *, int64_t) = {reporter_step, poller_step, health_step, sync_step,
                                                             registration_step};
    int64_t until_us = trace_step(agent->trace, now_us, is_last);

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int64_t next_us = steps[i](agent, now_us);
        if (next_us < until_us)
            until_us = next_us;
    }
    pthread_mutex_lock(&agent->mutex);
    if (agent->is_stopping && agent->stop_us < until_us)
        until_us = agent->stop_us;
    pthread_mutex_unlock(&agent->mutex);
    return until_us;
}

static void *run(void *ctx)
{
    struct agent *agent = ctx;
    int64_t flush_until_us = NEVER_US; /* all is over but for spans */

    for (;;) {
        int64_t now_us, until_us;
        bool is_last;

        keep_ended(agent);
        now_us = num_now_us();
        is_last = is_over(agent, now_us);
        if (is_last && flush_until_us == NEVER_US)
            flush_until_us = now_us + SECOND_US;
        if (is_last && (trace_is_idle(agent->trace) || now_us >= flush_until_us))
            return NULL;
        until_us = step(agent, now_us, is_last);
        client_step(agent->client, until_us < flush_until_us ? until_us : flush_until_us);
    }
}

/* The journal's thread. */
static void on_written(void *client)
{
    client_wake(client);
}

static void agent_free(struct agent *agent)
{
    ledger_stop_writer(agent->ledger);
    client_free(agent->client);
    trace_free(agent->trace);
    ledger_close(agent->ledger);
    sync_free(&agent->sync);
    pthread_mutex_destroy(&agent->mutex);
    free(agent->health_body);
    free((char *)agent->config.domain);
    free((char *)agent->config.url);
    free(agent);
}

static int start_thread(struct agent *agent, struct runner_error *err)
{
    sigset_t all, old;
    int code;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    code = pthread_create(&agent->thread, NULL, run, agent);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code == 0 ? 0 : fail_errno(err, code, "start a thread");
}

int agent_start(const struct agent_config *config, struct agent **ret, struct runner_error *err)
{
    struct engine *engine = config->engine;
    const struct config_api *api = &engine->config->api;
    struct client_config client = {.url = api->url,
                                   .token = api->token,
                                   .ca_file = api->ca_file,
                                   .cert_file = api->cert_file,
                                   .key_file = api->key_file,
                                   .user_agent = "runner-ch/" VERSION_TEXT};
    const struct config_otlp *otlp = &engine->config->otlp;
    struct trace_config trace = {.endpoint = otlp->traces ? otlp->endpoint : NULL, .headers = otlp->headers};
    struct agent *agent = mem_alloc(sizeof *agent);
    struct runner_error damage = ERROR_INIT;
    int64_t now_us = num_now_us();

    agent->config = *config;
    agent->config.domain = mem_dup(config->domain);
    agent->config.url = mem_dup(config->url);
    agent->random = (unsigned)num_wall_ms() ^ (unsigned)getpid();
    agent->poller = (struct poller){.page = 1, .list_often_until_us = now_us + ABANDONED_US};
    pthread_mutex_init(&agent->mutex, NULL);
    if (client_new(&client, &agent->client, err) < 0 ||
        ledger_open(engine->config->state_dir, &agent->ledger, &damage, err) < 0) {
        agent_free(agent);
        return -1;
    }
    if (damage.code != 0)
        log_event(RUNNER_LOG_ERROR, "jobs.journal", "error", damage.message, NULL);
    agent->trace = trace_new(&trace, agent->client);
    if (ledger_start_writer(agent->ledger, on_written, agent->client, err) < 0 || start_thread(agent, err) < 0) {
        agent_free(agent);
        return -1;
    }
    *ret = agent;
    return 0;
}

void agent_drain(struct agent *agent)
{
    if (agent == NULL)
        return;
    pthread_mutex_lock(&agent->mutex);
    agent->is_draining = true;
    pthread_mutex_unlock(&agent->mutex);
    client_wake(agent->client);
}

void agent_stop(struct agent *agent, int64_t wait_ms)
{
    if (agent == NULL)
        return;
    pthread_mutex_lock(&agent->mutex);
    agent->is_draining = agent->is_stopping = true;
    agent->stop_us = num_now_us() + wait_ms * 1000;
    pthread_mutex_unlock(&agent->mutex);
    client_wake(agent->client);
    pthread_join(agent->thread, NULL);
    agent_free(agent);
}

void agent_read_stats(struct agent *agent, struct agent_stats *ret)
{
    *ret = (struct agent_stats){.jobs_completed = 0};
    if (agent == NULL)
        return;
    pthread_mutex_lock(&agent->mutex);
    *ret = agent->stats;
    pthread_mutex_unlock(&agent->mutex);
}
