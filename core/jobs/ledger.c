#include "core/jobs/ledger.h"

#include <string.h>

#include "core/jobs/journal.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define BUCKETS 4096

struct ledger {
    struct journal *journal;
    struct job *table[BUCKETS];
    struct job_list lists[JOB_STATES];
    size_t n[JOB_STATES];
};

/* FNV-1a */
static size_t bucket_of(const char *id)
{
    uint32_t hash = 2166136261u;

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash % BUCKETS;
}

struct job *ledger_find(const struct ledger *ledger, const char *id)
{
    struct job *job = ledger->table[bucket_of(id)];

    while (job != NULL && strcmp(job->id, id) != 0)
        job = job->same;
    return job;
}

static void put(struct ledger *ledger, struct job *job)
{
    struct job **bucket = &ledger->table[bucket_of(job->id)];

    job->same = *bucket;
    *bucket = job;
    TAILQ_INSERT_TAIL(&ledger->lists[job->state], job, link);
    ledger->n[job->state]++;
}

static void move(struct ledger *ledger, struct job *job, enum job_state state)
{
    TAILQ_REMOVE(&ledger->lists[job->state], job, link);
    ledger->n[job->state]--;
    job->state = state;
    TAILQ_INSERT_TAIL(&ledger->lists[state], job, link);
    ledger->n[state]++;
}

static void drop(struct ledger *ledger, struct job *job)
{
    struct job **at = &ledger->table[bucket_of(job->id)];

    while (*at != job)
        at = &(*at)->same;
    *at = job->same;
    TAILQ_REMOVE(&ledger->lists[job->state], job, link);
    ledger->n[job->state]--;
    job_free(job);
}

static void bound(struct ledger *ledger)
{
    while (ledger->n[JOB_TOLD] > LEDGER_TOLD_MAX)
        drop(ledger, TAILQ_FIRST(&ledger->lists[JOB_TOLD]));
}

void ledger_add(struct ledger *ledger, struct job *job)
{
    put(ledger, job);
}

void ledger_end(struct ledger *ledger, struct job *job)
{
    move(ledger, job, JOB_ENDED);
    json_free(job->payload); /* it may hold secrets, and is done with */
    job->payload = NULL;
    journal_add(ledger->journal, job);
}

void ledger_tell(struct ledger *ledger, struct job *job)
{
    job->told_us = num_now_us();
    move(ledger, job, JOB_TOLD);
    journal_add_told(ledger->journal, job);
    bound(ledger);
}

void ledger_untell(struct ledger *ledger, struct job *job)
{
    move(ledger, job, JOB_ENDED);
    job->failures = 0;
    job->retry_us = 0;
}

const struct job_list *ledger_list(const struct ledger *ledger, enum job_state state)
{
    return &ledger->lists[state];
}

size_t ledger_count(const struct ledger *ledger, enum job_state state)
{
    return ledger->n[state];
}

/* ---- on disk ---- */

static int rewrite(struct ledger *ledger, struct runner_error *err)
{
    const struct job *job;

    if (journal_rewrite_begin(ledger->journal, err) < 0)
        return -1;
    TAILQ_FOREACH(job, &ledger->lists[JOB_TOLD], link)
    {
        journal_add(ledger->journal, job);
        journal_add_told(ledger->journal, job);
    }
    TAILQ_FOREACH(job, &ledger->lists[JOB_ENDED], link)
    journal_add(ledger->journal, job);
    return journal_rewrite_end(ledger->journal, err);
}

int ledger_sync(struct ledger *ledger, struct runner_error *err)
{
    if (journal_is_long(ledger->journal))
        return rewrite(ledger, err);
    return journal_sync(ledger->journal, err);
}

/* A line of the journal. The last word on a job counts. */
static void found(void *ctx, struct job *line)
{
    struct ledger *ledger = ctx;
    struct job *known = ledger_find(ledger, line->id);

    if (line->state == JOB_ENDED) {
        if (known != NULL)
            drop(ledger, known);
        put(ledger, line);
        return;
    }
    if (known != NULL && known->state == JOB_ENDED)
        move(ledger, known, JOB_TOLD);
    job_free(line);
    bound(ledger);
}

int ledger_open(const char *state_dir, struct ledger **ret, struct runner_error *err)
{
    struct ledger *ledger = mem_alloc(sizeof *ledger);

    for (int state = 0; state < JOB_STATES; state++)
        TAILQ_INIT(&ledger->lists[state]);
    if (journal_open(state_dir, found, ledger, &ledger->journal, err) < 0 || rewrite(ledger, err) < 0) {
        ledger_close(ledger);
        return -1;
    }
    *ret = ledger;
    return 0;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (int state = 0; state < JOB_STATES; state++)
        while (!TAILQ_EMPTY(&ledger->lists[state]))
            drop(ledger, TAILQ_FIRST(&ledger->lists[state]));
    journal_close(ledger->journal);
    free(ledger);
}
