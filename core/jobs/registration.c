/*
 * What the API has this runner registered as (contract 3.4). Nothing that a runner sends can change it: where it is of
 * another class, sandboxes go elsewhere and nothing else tells why. The answer holds the runner's key: it is never logged.
 */
#include <stdio.h>
#include <string.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define ASK_MS      10000
#define REPLY_MAX   (1 << 20)
#define RETRY_US    (60 * SECOND_US)
#define CLASS       "linux-vm"
#define API_VERSION "2"

static void judge(struct agent *agent, const struct json *row)
{
    const char *class = json_text(row, "sandboxClass", ""), *version = json_text(row, "apiVersion", "");
    bool is_right = strcmp(class, CLASS) == 0 && strcmp(version, API_VERSION) == 0;

    log_event(is_right ? RUNNER_LOG_INFO : RUNNER_LOG_ERROR, "api.registered", "runner", json_text(row, "id", ""),
              "name", json_text(row, "name", ""), "class", class, "api_version", version, "note",
              is_right
                  ? NULL
                  : "it must be of class linux-vm and of API version 2 to be given sandboxes, which only the API's "
                    "operator can change",
              NULL);
    if (is_right)
        agent->registration.next_us = NEVER_US;
}

static void on_reply(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    struct runner_error err = ERROR_INIT;
    auto_json struct json *row = NULL;
    char status[16];

    agent->registration.is_asking = false;
    agent->registration.next_us = num_now_us() + agent_jitter(agent, RETRY_US);
    if (!outage_judge(agent, "registration", reply))
        return;
    (void)snprintf(status, sizeof status, "%d", reply->status);
    if (reply->status / 100 != 2)
        log_event(RUNNER_LOG_WARN, "api.registration_unknown", "status", status, NULL);
    else if (json_parse(reply->body, reply->len, &row, &err) < 0)
        log_event(RUNNER_LOG_WARN, "api.registration_unknown", "error", err.message, NULL);
    else
        judge(agent, row);
}

int64_t registration_step(struct agent *agent, int64_t now_us)
{
    struct registration *registration = &agent->registration;
    struct client_request request = {.method = "GET",
                                     .path = "/runners/me",
                                     .timeout_ms = ASK_MS,
                                     .reply_max = REPLY_MAX,
                                     .done = on_reply,
                                     .ctx = agent};

    if (registration->is_asking || agent_is_draining(agent) || outage_is_on(&agent->outage))
        return NEVER_US; /* a reply leads to a step */
    if (now_us < registration->next_us)
        return registration->next_us;
    registration->is_asking = true;
    client_send(agent->client, &request);
    return NEVER_US;
}
