/*
 * How jobs ended, told until the API has it (contract 2.4): in order for each sandbox, the others side by side; and a
 * sign of life for those that take long.
 */
#include <stdio.h>
#include <string.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define AT_ONCE        8
#define WAITING_MAX    64 /* sandboxes whose results wait to be retried, before the others wait too */
#define STATUS_MS      10000
#define REPLY_MAX      (1 << 20)
#define RETRY_FIRST_US (SECOND_US / 5)
#define RETRY_MAX_US   (5 * SECOND_US)
#define REPEAT_US      (SECOND_US * 3 / 2)

struct telling {
    struct agent *agent;
    struct job *job;
    int64_t begin_us;
};

static void send_status(struct agent *agent, struct job *job, const char *body,
                        void (*done)(void *, const struct client_reply *))
{
    auto_free char *path = mem_printf("/jobs/%s/status", job->id);
    auto_free char *own =
        job->trace.span_id[0] != '\0' ? mem_printf("00-%s-%s-01", job->trace.trace_id, job->trace.span_id) : NULL;
    struct telling *telling = mem_alloc(sizeof *telling);
    struct client_request request = {.method = "POST",
                                     .path = path,
                                     .body = body,
                                     .traceparent = own != NULL ? own : job->traceparent,
                                     .timeout_ms = STATUS_MS,
                                     .reply_max = REPLY_MAX,
                                     .done = done,
                                     .ctx = telling};

    telling->agent = agent;
    telling->job = job;
    telling->begin_us = num_now_us();
    job->is_in_flight = true;
    agent->reporter.n_in_flight++;
    client_send(agent->client, &request);
}

static struct agent *landed(struct telling *telling, const struct client_reply *reply, struct job **ret)
{
    struct agent *agent = telling->agent;

    *ret = telling->job;
    telling->job->is_in_flight = false;
    agent->reporter.n_in_flight--;
    trace_told(agent->trace, telling->job, telling->begin_us, reply->status);
    free(telling);
    return agent;
}

/* ---- outcomes ---- */

static void retry_later(struct agent *agent, struct job *job)
{
    unsigned doublings = job->failures < 10 ? job->failures : 10;
    int64_t delay_us = RETRY_FIRST_US << doublings;

    job->failures++;
    job->retry_us = num_now_us() + agent_jitter(agent, delay_us < RETRY_MAX_US ? delay_us : RETRY_MAX_US);
}

/* The API has the last word on it. */
static void told(struct agent *agent, struct job *job)
{
    agent->reporter.n_repeats -= job->is_told_once;
    job->is_told_once = false;
    ledger_tell(agent->ledger, job);
}

static void on_outcome(void *ctx, const struct client_reply *reply)
{
    struct job *job;
    struct agent *agent = landed(ctx, reply, &job);
    char status[16];

    if (!outage_judge(agent, "status of a job", reply) || reply->status >= 500) {
        retry_later(agent, job);
        return;
    }
    if (reply->status / 100 == 2 && job->is_told_twice) {
        job->is_told_twice = false;
        job->is_told_once = true;
        agent->reporter.n_repeats++;
        job->retry_us = num_now_us() + REPEAT_US;
        return;
    }
    (void)snprintf(status, sizeof status, "%d", reply->status);
    if (reply->status / 100 != 2 && !job->is_told_once)
        log_event(RUNNER_LOG_ERROR, "job.not_wanted", "job", job->id, "type", job->name, "resource", job->resource,
                  "status", status, "answer", reply->body, NULL);
    told(agent, job);
}

static void send_outcome(struct agent *agent, struct job *job)
{
    auto_str struct str body = STR_INIT;

    json_open(&body, NULL, '{');
    json_add_text(&body, "status", job->is_failed ? "FAILED" : "COMPLETED");
    if (job->is_failed)
        json_add_text(&body, "errorMessage", job->error != NULL ? job->error : "");
    else if (job->result != NULL)
        json_add_text(&body, "resultMetadata", job->result);
    json_close(&body, '}');
    send_status(agent, job, str_text(&body), on_outcome);
}

/* Sandboxes that an earlier job of theirs is still to be told of. */
struct waiting {
    const char *resources[AT_ONCE + WAITING_MAX];
    size_t n;
};

static bool must_wait(const struct waiting *waiting, const struct job *job)
{
    for (size_t i = 0; i < waiting->n; i++)
        if (strcmp(waiting->resources[i], job->resource) == 0)
            return true;
    return false;
}

static int64_t tell_outcomes(struct agent *agent, int64_t now_us)
{
    struct waiting waiting = {.n = 0};
    int64_t next_us = NEVER_US;
    struct job *job, *after;

    for (job = TAILQ_FIRST(ledger_list(agent->ledger, JOB_ENDED)); job != NULL; job = after) {
        after = TAILQ_NEXT(job, link);
        if (agent->reporter.n_in_flight >= AT_ONCE || waiting.n == ARRAY_LEN(waiting.resources))
            break;
        if (!job->is_in_flight && job->retry_us <= now_us && ledger_is_kept(agent->ledger, job) &&
            !must_wait(&waiting, job))
            send_outcome(agent, job);
        else if (!job->is_in_flight && job->retry_us > now_us && job->retry_us < next_us)
            next_us = job->retry_us;
        if (!job->is_told_once)
            waiting.resources[waiting.n++] = job->resource;
    }
    return next_us;
}

void reporter_end_repeats(struct agent *agent, const char *resource)
{
    struct job *job = TAILQ_FIRST(ledger_list(agent->ledger, JOB_ENDED)), *after;

    for (; job != NULL && agent->reporter.n_repeats > 0; job = after) {
        after = TAILQ_NEXT(job, link);
        if (job->is_told_once && !job->is_in_flight && strcmp(job->resource, resource) == 0)
            told(agent, job);
    }
}

/* ---- signs of life ---- */

static void on_beat(void *ctx, const struct client_reply *reply)
{
    struct job *job;
    struct agent *agent = landed(ctx, reply, &job);

    (void)outage_judge(agent, "heartbeat of a job", reply);
}

/* Only a text that differs from the last one counts for the API. */
static void send_beat(struct agent *agent, struct job *job, int64_t now_us)
{
    auto_str struct str body = STR_INIT, result = STR_INIT;

    job->beat_us = now_us;
    json_open(&result, NULL, '{');
    json_add_int(&result, "heartbeat", ++job->beats);
    json_add_int(&result, "seconds", (now_us - job->begun_us) / SECOND_US);
    image_job_add_progress(agent, job, &result);
    json_close(&result, '}');
    json_open(&body, NULL, '{');
    json_add_text(&body, "status", "IN_PROGRESS");
    json_add_text(&body, "resultMetadata", str_text(&result));
    json_close(&body, '}');
    send_status(agent, job, str_text(&body), on_beat);
}

static int64_t interval_us(const struct agent *agent)
{
    return agent->config.engine->config->api.heartbeat_ms * 1000;
}

static int64_t beat_of(const struct agent *agent, const struct job *job)
{
    return (job->beat_us > 0 ? job->beat_us : job->begun_us) + interval_us(agent);
}

/* The list is in the order in which the jobs began. */
static int64_t send_beats(struct agent *agent, int64_t now_us)
{
    int64_t next_us = NEVER_US;
    struct job *job;

    TAILQ_FOREACH(job, ledger_list(agent->ledger, JOB_RUNNING), link)
    {
        if (beat_of(agent, job) <= now_us && !job->is_in_flight)
            send_beat(agent, job, now_us);
        if (beat_of(agent, job) < next_us)
            next_us = beat_of(agent, job);
        if (job->begun_us + interval_us(agent) > now_us) /* the first of those that none is due for */
            break;
    }
    return next_us;
}

int64_t reporter_step(struct agent *agent, int64_t now_us)
{
    int64_t outcome_us, beat_us;

    if (outage_is_on(&agent->outage)) /* its end leads to a step */
        return NEVER_US;
    outcome_us = tell_outcomes(agent, now_us);
    beat_us = send_beats(agent, now_us);
    return outcome_us < beat_us ? outcome_us : beat_us;
}
