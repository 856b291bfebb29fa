/*
 * What the API schedules by (contract 3): a healthcheck at once, then every interval. Its figures are read on a
 * worker, since they come from the hosts.
 */
#include <string.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define HEALTH_MS 10000 /* figures and request together */
#define REPLY_MAX (1 << 20)

struct gathering {
    struct task task;
    struct agent *agent;
};

/* Worker. */
static void gather(struct task *task)
{
    struct agent *agent = ((struct gathering *)task)->agent;
    auto_str struct str body = STR_INIT;

    json_open(&body, NULL, '{');
    json_add_text(&body, "appVersion", VERSION_TEXT);
    if (agent->config.domain != NULL)
        json_add_text(&body, "domain", agent->config.domain);
    if (agent->config.url != NULL) {
        json_add_text(&body, "apiUrl", agent->config.url);
        json_add_text(&body, "proxyUrl", agent->config.url);
    }
    agent->config.add_health(agent->config.engine, HEALTH_MS / 2, &body);
    json_close(&body, '}');
    free(task);
    pthread_mutex_lock(&agent->mutex);
    agent->health_body = str_steal(&body);
    pthread_mutex_unlock(&agent->mutex);
    client_wake(agent->client);
}

static void begin(struct agent *agent)
{
    struct gathering *gathering = mem_alloc(sizeof *gathering);

    gathering->task.run = gather;
    gathering->agent = agent;
    agent->health.is_gathering = true;
    if (pool_submit(agent->config.engine->pool, NULL, &gathering->task, POOL_ASKED, NULL) == 0)
        return;
    agent->health.is_gathering = false; /* the runner stops, or is full: later */
    free(gathering);
}

static void on_reply(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    char status[16];

    agent->health.is_sending = false;
    (void)snprintf(status, sizeof status, "%d", reply->status);
    if (outage_judge(agent, "healthcheck", reply) && reply->status / 100 != 2)
        log_event(RUNNER_LOG_ERROR, "api.healthcheck_refused", "status", status, "answer", reply->body, NULL);
}

static void send(struct agent *agent, const char *body)
{
    struct client_request request = {.method = "POST",
                                     .path = "/runners/healthcheck",
                                     .body = body,
                                     .timeout_ms = HEALTH_MS,
                                     .reply_max = REPLY_MAX,
                                     .done = on_reply,
                                     .ctx = agent};

    agent->health.is_sending = true;
    client_send(agent->client, &request);
}

static char *take_body(struct agent *agent)
{
    char *body;

    pthread_mutex_lock(&agent->mutex);
    body = agent->health_body;
    agent->health_body = NULL;
    pthread_mutex_unlock(&agent->mutex);
    if (body != NULL)
        agent->health.is_gathering = false;
    return body;
}

int64_t health_step(struct agent *agent, int64_t now_us)
{
    struct health *health = &agent->health;
    auto_free char *body = take_body(agent);
    bool is_away = outage_is_on(&agent->outage);

    if (body != NULL && !is_away)
        send(agent, body);
    if (is_away) { /* as soon as it is back */
        health->next_us = now_us;
        return NEVER_US;
    }
    if (!health->is_gathering && !health->is_sending && now_us >= health->next_us && !agent_is_draining(agent)) {
        health->next_us = now_us + agent_jitter(agent, agent->config.engine->config->api.healthcheck_ms * 1000);
        begin(agent);
    }
    return health->is_gathering || health->is_sending || agent_is_draining(agent) ? NEVER_US : health->next_us;
}
