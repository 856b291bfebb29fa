/* The API away, and back. */
#include <stdio.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/num.h"

#define RETRY_FIRST_US (SECOND_US / 10)
#define RETRY_MAX_US   (2 * SECOND_US)
#define QUIET_US       (3 * SECOND_US)

bool outage_is_on(const struct outage *outage)
{
    return outage->is_on;
}

static void log_begin(const char *what, const struct client_reply *reply)
{
    char status[16];

    (void)snprintf(status, sizeof status, "%d", reply->status);
    log_event(RUNNER_LOG_WARN, "api.unreachable", "request", what, "status", reply->status > 0 ? status : NULL, "error",
              reply->problem[0] != '\0' ? reply->problem : NULL, "note",
              reply->status == 200 ? "the answer is no JSON: does api.url end in /api?" : NULL, NULL);
}

static void begin(struct agent *agent, const char *what, const struct client_reply *reply)
{
    struct outage *outage = &agent->outage;
    int64_t now_us = num_now_us(), delay_us;

    if (!outage->is_on && now_us - outage->last_us > QUIET_US)
        outage->failures = 0;
    if (outage->failures == 0) {
        outage->since_us = now_us;
        log_begin(what, reply);
    }
    delay_us = RETRY_FIRST_US << (outage->failures < 10 ? outage->failures : 10);
    delay_us = agent_jitter(agent, delay_us < RETRY_MAX_US ? delay_us : RETRY_MAX_US);
    if (reply->retry_after_ms * 1000 > delay_us)
        delay_us = reply->retry_after_ms * 1000;
    outage->failures++;
    outage->is_on = true;
    outage->last_us = now_us;
    outage->retry_us = now_us + delay_us;
}

static void end(struct outage *outage)
{
    char ms[24];

    if (outage->is_on && outage->since_us > 0) {
        (void)snprintf(ms, sizeof ms, "%lld", (long long)((num_now_us() - outage->since_us) / 1000));
        log_event(RUNNER_LOG_INFO, "api.reachable", "after_ms", ms, NULL);
        outage->since_us = 0;
    }
    outage->is_on = false;
}

static bool is_answer(const struct client_reply *reply)
{
    switch (reply->status) {
    case 0:
    case 401:
    case 403:
    case 429:
    case 502:
    case 503:
    case 504:
        return false;
    default:
        return reply->is_json || reply->status != 200;
    }
}

bool outage_judge(struct agent *agent, const char *what, const struct client_reply *reply)
{
    bool is_good = is_answer(reply);

    if (is_good)
        end(&agent->outage);
    else
        begin(agent, what, reply);
    pthread_mutex_lock(&agent->mutex);
    agent->stats.is_reachable = is_good;
    agent->stats.requests_failed += !is_good;
    pthread_mutex_unlock(&agent->mutex);
    return is_good;
}
