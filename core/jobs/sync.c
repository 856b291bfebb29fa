/*
 * What the API believes of this runner's sandboxes, compared with what they are (contract 10.3): states that no job
 * brought about are reported, and sandboxes that the API does not have any more are removed.
 *
 * A sandbox is an orphan when the API's list did not have it for the whole grace period, in at least two answers, when
 * no job is about it, and when the API, asked for it by name, does not know it either. Or when the list says that it
 * is an error which its user has deleted: no job ever comes for that. Few are removed at a time. An answer that is not
 * a whole list changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "core/jobs/parts.h"
#include "core/log.h"
#include "core/op.h"
#include "core/util/json.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define LIST_MS   30000
#define STATE_MS  10000
#define REPLY_MAX (32 << 20)
#define AT_ONCE   10 /* states that are reported, or orphans that are looked at, in a pass */
#define SEEN_MIN  2

struct local { /* a sandbox here */
    char id[64];
    enum sandbox_state state;
    char *error;
    int64_t created_ms;
    const struct json *row; /* the API's, or NULL */
};

struct locals {
    struct local *list;
    size_t n;
};

struct suspect {
    char id[64];
    int64_t since_us;
    unsigned seen;
    struct suspect *next;
};

struct asking { /* a PUT of a state */
    struct agent *agent;
    char id[64];
    bool is_orphan; /* asked to learn whether the API knows it */
};

/* ---- what is here ---- */

static bool collect(const struct sandbox *sandbox, void *element, void *ctx)
{
    struct local *local = element;

    (void)ctx;
    (void)snprintf(local->id, sizeof local->id, "%s", sandbox->record->id);
    local->state = sandbox->record->state;
    local->error = mem_dup(sandbox->record->error);
    local->created_ms = sandbox->record->created_ms;
    return true;
}

static struct locals collect_all(struct engine *engine)
{
    struct locals locals;

    locals.list = index_map(engine->index, sizeof *locals.list, collect, NULL, &locals.n);
    return locals;
}

static void locals_free(struct locals *locals)
{
    for (size_t i = 0; i < locals->n; i++)
        free(locals->list[i].error);
    free(locals->list);
}

static bool are_hosts_up(struct engine *engine)
{
    bool are_up = true;

    for (size_t i = 0; i < engine->n_hosts; i++) {
        pthread_mutex_lock(&engine->hosts[i]->mutex);
        are_up = are_up && engine->hosts[i]->is_up;
        pthread_mutex_unlock(&engine->hosts[i]->mutex);
    }
    return are_up;
}

static bool has_job(const struct agent *agent, const char *id)
{
    for (int state = JOB_RUNNING; state <= JOB_ENDED; state++) {
        const struct job *job;
        TAILQ_FOREACH(job, ledger_list(agent->ledger, (enum job_state)state), link)
        if (strcmp(job->resource, id) == 0)
            return true;
    }
    return false;
}

/* ---- reports ---- */

static void remove_orphan(struct agent *agent, const char *id)
{
    struct op *op = op_new(agent->config.engine, OP_DESTROY, id);
    struct runner_error err = ERROR_INIT;

    log_event(RUNNER_LOG_WARN, "orphan.removed", "id", id, NULL);
    if (op_submit(op, &err) < 0)
        op_free(op); /* the next pass finds it again */
}

static void on_state(void *ctx, const struct client_reply *reply)
{
    struct asking *asking = ctx;
    struct agent *agent = asking->agent;
    char status[16];

    (void)snprintf(status, sizeof status, "%d", reply->status);
    if (!outage_judge(agent, "state of a sandbox", reply) || reply->status >= 500)
        ; /* the next pass asks again */
    else if (asking->is_orphan && reply->status == 404 && agent_is_draining(agent) == false)
        remove_orphan(agent, asking->id);
    else if (asking->is_orphan)
        log_event(RUNNER_LOG_ERROR, "orphan.contradicted", "id", asking->id, "status", status, "note",
                  "the API's list does not have it, but the API knows it", NULL);
    else if (reply->status / 100 != 2)
        log_event(RUNNER_LOG_INFO, "sync.not_taken", "id", asking->id, "status", status, "answer", reply->body, NULL);
    free(asking);
}

/* The API's word for a state that lasts; NULL: it is on its way. */
static const char *word_for(enum sandbox_state state)
{
    switch (state) {
    case SANDBOX_STARTED:
        return "started";
    case SANDBOX_STOPPED:
        return "stopped";
    case SANDBOX_ERROR:
        return "error";
    default:
        return NULL;
    }
}

static void put_state(struct agent *agent, const struct local *local, const char *word, bool is_orphan)
{
    auto_free char *path = mem_printf("/sandbox/%s/state", local->id);
    auto_str struct str body = STR_INIT;
    struct asking *asking = mem_alloc(sizeof *asking);
    struct client_request request = {
        .method = "PUT", .path = path, .timeout_ms = STATE_MS, .reply_max = REPLY_MAX, .done = on_state, .ctx = asking};

    asking->agent = agent;
    asking->is_orphan = is_orphan;
    (void)snprintf(asking->id, sizeof asking->id, "%s", local->id);
    json_open(&body, NULL, '{');
    json_add_text(&body, "state", word);
    if (local->state == SANDBOX_ERROR) {
        json_add_text(&body, "errorReason", local->error != NULL ? local->error : "unknown");
        json_add_bool(&body, "recoverable", true); /* RECOVER makes it stopped, with its disk */
    }
    json_close(&body, '}');
    request.body = str_text(&body);
    client_send(agent->client, &request);
}

/* A state that lasts on both sides, and is not the same. */
static bool differs(const struct local *local)
{
    const char *theirs = json_text(local->row, "state", ""), *ours = word_for(local->state);

    return ours != NULL && (strcmp(theirs, "started") == 0 || strcmp(theirs, "stopped") == 0) &&
           strcmp(ours, theirs) != 0;
}

static void report_states(struct agent *agent, const struct locals *locals)
{
    size_t n = 0;

    for (size_t i = 0; i < locals->n && n < AT_ONCE; i++) {
        const struct local *local = &locals->list[i];
        if (!differs(local) || has_job(agent, local->id))
            continue;
        log_event(RUNNER_LOG_INFO, "sync.report", "id", local->id, "state", word_for(local->state), "api",
                  json_text(local->row, "state", ""), NULL);
        put_state(agent, local, word_for(local->state), false);
        n++;
    }
}

/* ---- orphans ---- */

/* Listed, but as an error that its user has deleted. */
static bool is_given_up(const struct local *local)
{
    return strcmp(json_text(local->row, "state", ""), "error") == 0 &&
           strcmp(json_text(local->row, "desiredState", ""), "destroyed") == 0;
}

static struct suspect *find_suspect(struct sync *sync, const char *id)
{
    struct suspect *suspect = sync->suspects;

    while (suspect != NULL && strcmp(suspect->id, id) != 0)
        suspect = suspect->next;
    return suspect;
}

static void free_suspects(struct suspect *suspect)
{
    while (suspect != NULL) {
        struct suspect *next = suspect->next;
        free(suspect);
        suspect = next;
    }
}

/* Those of the last pass that are suspect still, and new ones. */
static void update_suspects(struct agent *agent, const struct locals *locals, int64_t now_us)
{
    struct suspect *now = NULL;

    for (size_t i = 0; i < locals->n; i++) {
        const struct local *local = &locals->list[i];
        const struct suspect *before = find_suspect(&agent->sync, local->id);
        struct suspect *suspect;
        if ((local->row != NULL && !is_given_up(local)) || has_job(agent, local->id))
            continue;
        suspect = mem_alloc(sizeof *suspect);
        (void)snprintf(suspect->id, sizeof suspect->id, "%s", local->id);
        suspect->since_us = before != NULL ? before->since_us : now_us;
        suspect->seen = before != NULL ? before->seen + 1 : 1;
        suspect->next = now;
        now = suspect;
    }
    free_suspects(agent->sync.suspects);
    agent->sync.suspects = now;
}

static void look_at_orphan(struct agent *agent, const struct local *local)
{
    const char *word = word_for(local->state);

    if (agent->config.engine->config->api.orphans == CONFIG_ORPHANS_REPORT)
        log_event(RUNNER_LOG_WARN, "orphan.found", "id", local->id, "state", sandbox_state_name(local->state), NULL);
    else if (local->row != NULL)
        remove_orphan(agent, local->id);
    else
        put_state(agent, local, word != NULL ? word : "stopped", true);
}

static void collect_orphans(struct agent *agent, const struct locals *locals, int64_t now_us)
{
    int64_t grace_ms = agent->config.engine->config->api.orphan_grace_ms;
    size_t n = 0;

    update_suspects(agent, locals, now_us);
    for (size_t i = 0; i < locals->n && n < AT_ONCE; i++) {
        const struct local *local = &locals->list[i];
        const struct suspect *suspect = find_suspect(&agent->sync, local->id);
        if (suspect == NULL || suspect->seen < SEEN_MIN || now_us - suspect->since_us < grace_ms * 1000 ||
            num_wall_ms() - local->created_ms < grace_ms)
            continue;
        look_at_orphan(agent, local);
        n++;
    }
}

/* ---- the list ---- */

/* Every row must be one, or the answer is not a whole list. */
static int check_rows(const struct json *rows, struct runner_error *err)
{
    if (rows->type != JSON_ARRAY)
        return fail(err, RUNNER_E_INVALID, 0, "expected an array, found %s", json_type_name(rows->type));
    for (const struct json *row = rows->first; row != NULL; row = row->next)
        if (json_text(row, "id", "")[0] == '\0' || json_text(row, "state", "")[0] == '\0')
            return fail(err, RUNNER_E_INVALID, 0, "a sandbox has no id or no state");
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct local *)a)->id, ((const struct local *)b)->id);
}

static void match(struct locals *locals, const struct json *rows)
{
    qsort(locals->list, locals->n, sizeof *locals->list, by_id);
    for (const struct json *row = rows->first; row != NULL; row = row->next) {
        struct local key = {.row = NULL}, *found;
        (void)snprintf(key.id, sizeof key.id, "%s", json_text(row, "id", ""));
        found = bsearch(&key, locals->list, locals->n, sizeof *locals->list, by_id);
        if (found != NULL)
            found->row = row;
    }
}

static void on_list(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    struct runner_error err = ERROR_INIT;
    auto_json struct json *rows = NULL;
    struct locals locals;

    agent->sync.is_asking = false;
    if (!outage_judge(agent, "list of sandboxes", reply) || reply->status != 200 || agent_is_draining(agent))
        return;
    if (json_parse(reply->body, reply->len, &rows, &err) < 0 || check_rows(rows, &err) < 0) {
        log_event(RUNNER_LOG_ERROR, "api.bad_answer", "request", "list of sandboxes", "error", err.message, NULL);
        return;
    }
    /* What is here is looked at after the API was asked: a create whose row came later has a job, or had one. */
    locals = collect_all(agent->config.engine);
    match(&locals, rows);
    report_states(agent, &locals);
    if (agent->config.engine->config->api.orphans != CONFIG_ORPHANS_KEEP)
        collect_orphans(agent, &locals, num_now_us());
    locals_free(&locals);
}

int64_t sync_step(struct agent *agent, int64_t now_us)
{
    struct sync *sync = &agent->sync;
    struct client_request request = {.method = "GET",
                                     .path = "/sandbox/for-runner",
                                     .timeout_ms = LIST_MS,
                                     .reply_max = REPLY_MAX,
                                     .done = on_list,
                                     .ctx = agent};

    if (sync->is_asking || agent_is_draining(agent) || outage_is_on(&agent->outage))
        return NEVER_US; /* a reply leads to a step */
    if (now_us < sync->next_us)
        return sync->next_us;
    sync->next_us = now_us + agent_jitter(agent, agent->config.engine->config->api.sync_ms * 1000);
    if (!are_hosts_up(agent->config.engine))
        return sync->next_us;
    sync->is_asking = true;
    client_send(agent->client, &request);
    return NEVER_US;
}

void sync_free(struct sync *sync)
{
    free_suspects(sync->suspects);
}
