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
#include "core/jobs/rows.h"
#include "core/log.h"
#include "core/op.h"
#include "core/util/json.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define LIST_MS   30000
#define STATE_MS  10000
#define LIST_MAX  ((size_t)1 << 30) /* bytes of the list, which is not kept */
#define REPLY_MAX (1 << 20)
#define AT_ONCE   10 /* states that are reported, or orphans that are looked at, in a pass */
#define SEEN_MIN  2

struct local { /* a sandbox here */
    char id[64];
    enum sandbox_state state;
    char *error;
    int64_t created_ms;
    const struct row *row; /* the API's, or NULL */
    bool has_job;          /* one that runs, or is to be told of */
};

struct locals {
    struct local *list;
    size_t n;
};

struct suspect {
    char id[64];
    int64_t since_us;
    unsigned seen;
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

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct local *)a)->id, ((const struct local *)b)->id);
}

static struct local *find_local(const struct locals *locals, const char *id)
{
    struct local key = {.row = NULL};

    if (locals->n == 0 || strlen(id) >= sizeof key.id)
        return NULL;
    (void)snprintf(key.id, sizeof key.id, "%s", id);
    return bsearch(&key, locals->list, locals->n, sizeof *locals->list, by_id);
}

static void mark_jobs(const struct agent *agent, const struct locals *locals)
{
    for (int state = JOB_RUNNING; state <= JOB_ENDED; state++) {
        const struct job *job;
        TAILQ_FOREACH(job, ledger_list(agent->ledger, (enum job_state)state), link)
        {
            struct local *local = find_local(locals, job->resource);
            if (local != NULL)
                local->has_job = true;
        }
    }
}

/* In the order of their ids. */
static void match(const struct agent *agent, struct locals *locals, const struct rows *rows)
{
    if (locals->n > 0)
        qsort(locals->list, locals->n, sizeof *locals->list, by_id);
    for (size_t i = 0; i < locals->n; i++)
        locals->list[i].row = rows_find(rows, locals->list[i].id);
    mark_jobs(agent, locals);
}

/* Each pass goes on behind the one before: what the API never takes is in nobody's way. */
static size_t first_behind(const struct locals *locals, const char *id)
{
    size_t i = 0;

    while (i < locals->n && strcmp(locals->list[i].id, id) <= 0)
        i++;
    return i < locals->n ? i : 0;
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
    const char *theirs = local->row != NULL ? local->row->state : "", *ours = word_for(local->state);

    return ours != NULL && (strcmp(theirs, "started") == 0 || strcmp(theirs, "stopped") == 0) &&
           strcmp(ours, theirs) != 0;
}

static void report_states(struct agent *agent, const struct locals *locals)
{
    size_t first = first_behind(locals, agent->sync.reported), n = 0;

    for (size_t i = 0; i < locals->n && n < AT_ONCE; i++) {
        const struct local *local = &locals->list[(first + i) % locals->n];
        if (!differs(local) || local->has_job)
            continue;
        memcpy(agent->sync.reported, local->id, sizeof local->id);
        log_event(RUNNER_LOG_INFO, "sync.report", "id", local->id, "state", word_for(local->state), "api",
                  local->row->state, NULL);
        put_state(agent, local, word_for(local->state), false);
        n++;
    }
}

/* ---- orphans ---- */

/* Listed, but as an error that its user has deleted. */
static bool is_given_up(const struct local *local)
{
    return local->row != NULL && local->row->is_unwanted && strcmp(local->row->state, "error") == 0;
}

static int suspect_by_id(const void *a, const void *b)
{
    return strcmp(((const struct suspect *)a)->id, ((const struct suspect *)b)->id);
}

static const struct suspect *find_suspect(const struct sync *sync, const char *id)
{
    struct suspect key = {.seen = 0};

    if (sync->n_suspects == 0)
        return NULL;
    (void)snprintf(key.id, sizeof key.id, "%s", id);
    return bsearch(&key, sync->suspects, sync->n_suspects, sizeof *sync->suspects, suspect_by_id);
}

/* Those of the last pass that are suspect still, and new ones; in the order of the locals, which is that of ids. */
static void update_suspects(struct agent *agent, const struct locals *locals, int64_t now_us)
{
    struct suspect *now = mem_array(locals->n, sizeof *now);
    size_t n = 0;

    for (size_t i = 0; i < locals->n; i++) {
        const struct local *local = &locals->list[i];
        const struct suspect *before = find_suspect(&agent->sync, local->id);
        struct suspect *suspect = &now[n];
        if ((local->row != NULL && !is_given_up(local)) || local->has_job)
            continue;
        (void)snprintf(suspect->id, sizeof suspect->id, "%s", local->id);
        suspect->since_us = before != NULL ? before->since_us : now_us;
        suspect->seen = before != NULL ? before->seen + 1 : 1;
        n++;
    }
    free(agent->sync.suspects);
    agent->sync.suspects = now;
    agent->sync.n_suspects = n;
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
    size_t first = first_behind(locals, agent->sync.looked_at), n = 0;

    update_suspects(agent, locals, now_us);
    for (size_t i = 0; i < locals->n && n < AT_ONCE; i++) {
        const struct local *local = &locals->list[(first + i) % locals->n];
        const struct suspect *suspect = find_suspect(&agent->sync, local->id);
        if (suspect == NULL || suspect->seen < SEEN_MIN || now_us - suspect->since_us < grace_ms * 1000 ||
            num_wall_ms() - local->created_ms < grace_ms)
            continue;
        memcpy(agent->sync.looked_at, local->id, sizeof local->id);
        look_at_orphan(agent, local);
        n++;
    }
}

/* ---- the list ---- */

static void on_part(void *ctx, const char *data, size_t len)
{
    struct agent *agent = ctx;

    rows_feed(agent->sync.rows, data, len);
}

static void compare(struct agent *agent, const struct rows *rows)
{
    /* What is here is looked at after the API was asked: a create whose row came later has a job, or had one. */
    struct locals locals = collect_all(agent->config.engine);

    match(agent, &locals, rows);
    report_states(agent, &locals);
    if (agent->config.engine->config->api.orphans != CONFIG_ORPHANS_KEEP)
        collect_orphans(agent, &locals, num_now_us());
    locals_free(&locals);
}

static void on_list(void *ctx, const struct client_reply *reply)
{
    struct agent *agent = ctx;
    struct runner_error err = ERROR_INIT;
    struct rows *rows = agent->sync.rows;

    agent->sync.rows = NULL;
    if (!outage_judge(agent, "list of sandboxes", reply) || reply->status != 200 || agent_is_draining(agent))
        ; /* the next pass asks again */
    else if (rows_end(rows, &err) < 0)
        log_event(RUNNER_LOG_ERROR, "api.bad_answer", "request", "list of sandboxes", "error", err.message, NULL);
    else
        compare(agent, rows);
    rows_free(rows);
}

int64_t sync_step(struct agent *agent, int64_t now_us)
{
    struct sync *sync = &agent->sync;
    struct client_request request = {.method = "GET",
                                     .path = "/sandbox/for-runner",
                                     .timeout_ms = LIST_MS,
                                     .reply_max = LIST_MAX,
                                     .take = on_part,
                                     .done = on_list,
                                     .ctx = agent};

    if (sync->rows != NULL || agent_is_draining(agent) || outage_is_on(&agent->outage))
        return NEVER_US; /* a reply leads to a step */
    if (now_us < sync->next_us)
        return sync->next_us;
    sync->next_us = now_us + agent_jitter(agent, agent->config.engine->config->api.sync_ms * 1000);
    if (!are_hosts_up(agent->config.engine))
        return sync->next_us;
    sync->rows = rows_new();
    client_send(agent->client, &request);
    return NEVER_US;
}

void sync_free(struct sync *sync)
{
    rows_free(sync->rows);
    free(sync->suspects);
}
