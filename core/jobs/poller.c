/*
 * Where jobs come from (contract 2.3): a long poll at a time, and the list of jobs that are IN_PROGRESS, since a poll
 * whose reply was lost has taken its jobs with it, and goes on doing so within the API until its time is over.
 */
#include <stdio.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define POLL_S         12 /* seconds that a poll stays open: short, so that an abandoned one swallows little */
#define POLL_SLACK_MS  15000
#define POLL_LIMIT     100 /* the API's bound */
#define LIST_LIMIT     200 /* the same */
#define LIST_PAGES_MAX 50
#define LIST_MS        10000
#define LIST_OFTEN_US  (2 * SECOND_US)
#define LIST_EVERY_US  (60 * SECOND_US)
#define REPLY_MAX      (32 << 20) /* bytes */
#define TOLD_AGAIN_US  (5 * SECOND_US)

static size_t room(struct agent *agent)
{
    size_t running = ledger_count(agent->ledger, JOB_RUNNING),
           limit = (size_t)agent->config.engine->config->limits.queue;

    return running < limit ? limit - running : 0;
}

/* Delivered, or found in the list. What a poll brings a runner that stops is left alone: the API has it IN_PROGRESS, so
 * the next runner finds it. */
static void take(struct agent *agent, const struct json *from)
{
    struct runner_error err = ERROR_INIT;
    struct job *job, *known;

    if (agent_is_draining(agent))
        return;
    if (job_parse(from, &job, &err) < 0) {
        log_event(RUNNER_LOG_ERROR, "job.unreadable", "error", err.message, NULL);
        return;
    }
    known = ledger_find(agent->ledger, job->id);
    /* A list may be older than the word it crossed; after a while, the API does not have it. */
    if (known != NULL && known->state == JOB_TOLD && num_now_us() - known->told_us > TOLD_AGAIN_US) {
        log_event(RUNNER_LOG_INFO, "job.again", "job", job->id, "type", job->name, NULL);
        ledger_untell(agent->ledger, known);
    }
    if (known != NULL) {
        job_free(job);
        return;
    }
    reporter_end_repeats(agent, job->resource);
    job->begun_us = num_now_us();
    trace_begin(agent->trace, job);
    ledger_add(agent->ledger, job);
    executor_begin(agent, job);
}

/* The number of objects, or -1. */
static int take_all(struct agent *agent, const struct client_reply *reply, const char *key, struct json **ret)
{
    struct runner_error err = ERROR_INIT;
    const struct json *list;
    int n = 0;

    if (json_parse(reply->body, reply->len, ret, &err) < 0) {
        log_event(RUNNER_LOG_ERROR, "api.bad_answer", "error", err.message, NULL);
        return -1;
    }
    list = json_get(*ret, key);
    if (list == NULL || list->type != JSON_ARRAY) {
        log_event(RUNNER_LOG_ERROR, "api.bad_answer", "expected", key, NULL);
        return -1;
    }
    for (const struct json *from = list->first; from != NULL; from = from->next, n++)
        take(agent, from);
    return n;
}

/* ---- the poll ---- */

static void on_poll(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    struct poller *poller = &agent->poller;
    int64_t now_us = num_now_us();
    auto_json struct json *body = NULL;

    poller->is_polling = false;
    if (outage_judge(agent, "poll", reply) && reply->status / 100 == 2 && take_all(agent, reply, "jobs", &body) >= 0) {
        poller->poll_failures = 0;
        return;
    }
    if (poller->poll_failures < 6)
        poller->poll_failures++;
    poller->next_poll_us = now_us + agent_jitter(agent, (SECOND_US / 10) << poller->poll_failures);
    poller->list_often_until_us = now_us + (POLL_S + 1) * SECOND_US;
    poller->next_list_us = now_us;
}

static void send_poll(struct agent *agent, size_t limit)
{
    char path[64];
    struct client_request request = {.method = "GET",
                                     .path = path,
                                     .timeout_ms = POLL_S * 1000 + POLL_SLACK_MS,
                                     .reply_max = REPLY_MAX,
                                     .done = on_poll,
                                     .ctx = agent};

    (void)snprintf(path, sizeof path, "/jobs/poll?timeout=%d&limit=%zu", POLL_S,
                   limit < POLL_LIMIT ? limit : POLL_LIMIT);
    agent->poller.is_polling = true;
    client_send(agent->client, &request);
}

/* ---- the list ---- */

static void send_list(struct agent *agent);

static void plan_list(struct poller *poller, int64_t now_us)
{
    bool is_often = now_us < poller->list_often_until_us;

    poller->page = 1;
    poller->next_list_us = now_us + (is_often ? LIST_OFTEN_US : LIST_EVERY_US);
}

static void on_list(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    struct poller *poller = &agent->poller;
    auto_json struct json *body = NULL;

    poller->is_listing = false;
    if (!outage_judge(agent, "list of jobs", reply) || reply->status / 100 != 2 ||
        take_all(agent, reply, "items", &body) < 0) {
        poller->page = 1;
        poller->next_list_us = num_now_us() + LIST_OFTEN_US;
    } else if (poller->page < json_int(body, "totalPages", 1) && poller->page < LIST_PAGES_MAX) {
        poller->page++;
        send_list(agent);
    } else {
        plan_list(poller, num_now_us());
    }
}

static void send_list(struct agent *agent)
{
    char path[80];
    struct client_request request = {
        .method = "GET", .path = path, .timeout_ms = LIST_MS, .reply_max = REPLY_MAX, .done = on_list, .ctx = agent};

    (void)snprintf(path, sizeof path, "/jobs?status=IN_PROGRESS&page=%d&limit=%d", agent->poller.page, LIST_LIMIT);
    agent->poller.is_listing = true;
    client_send(agent->client, &request);
}

int64_t poller_step(struct agent *agent, int64_t now_us)
{
    struct poller *poller = &agent->poller;
    bool is_away = outage_is_on(&agent->outage);
    int64_t list_us = is_away ? agent->outage.retry_us : poller->next_list_us;
    size_t limit = room(agent);

    if (agent_is_draining(agent))
        return NEVER_US;
    if (!poller->is_listing && now_us >= list_us && limit > 0)
        send_list(agent);
    if (!poller->is_polling && !is_away && now_us >= poller->next_poll_us && limit > 0)
        send_poll(agent, limit);
    if (limit == 0) /* a job that ends leads to a step */
        return NEVER_US;
    if (is_away || poller->is_polling || poller->next_poll_us > list_us)
        return poller->is_listing ? NEVER_US : list_us;
    return poller->next_poll_us;
}
