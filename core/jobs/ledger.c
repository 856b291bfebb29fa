#include "core/jobs/ledger.h"

#include <string.h>

#include "core/jobs/writer.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define BUCKETS  4096
#define RETRY_US 1000000 /* writes after one that failed */

struct ledger {
    struct journal *journal;
    struct job *table[BUCKETS];
    struct job_list lists[JOB_STATES];
    size_t n[JOB_STATES];

    struct writer *writer;         /* or NULL */
    uint64_t ended, written, kept; /* tickets: the last one, the last that is being written, the last that was */
    bool must_rewrite;             /* that failed, so the file lacks something */
    int64_t retry_us;              /* the disk failed: not before then */
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
    job->ticket = ++ledger->ended;
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

static void add_all(struct ledger *ledger)
{
    const struct job *job;

    journal_rewrite_begin(ledger->journal);
    TAILQ_FOREACH(job, &ledger->lists[JOB_TOLD], link)
    {
        journal_add(ledger->journal, job);
        journal_add_told(ledger->journal, job);
    }
    TAILQ_FOREACH(job, &ledger->lists[JOB_ENDED], link)
    journal_add(ledger->journal, job);
}

static int rewrite(struct ledger *ledger, struct runner_error *err)
{
    add_all(ledger);
    return journal_rewrite_end(ledger->journal, err);
}

static int sync_now(struct ledger *ledger, struct runner_error *err)
{
    bool is_rewrite = ledger->must_rewrite || journal_is_long(ledger->journal);
    int status = is_rewrite ? rewrite(ledger, err) : journal_sync(ledger->journal, err);

    ledger->must_rewrite = is_rewrite && status < 0;
    ledger->kept = ledger->ended;
    return status;
}

static void begin_write(struct ledger *ledger)
{
    bool is_rewrite = ledger->must_rewrite || journal_is_long(ledger->journal);

    if (is_rewrite)
        add_all(ledger);
    ledger->must_rewrite = is_rewrite; /* until it is done */
    ledger->written = ledger->ended;
    writer_begin(ledger->writer, is_rewrite);
}

int ledger_sync(struct ledger *ledger, struct runner_error *err)
{
    bool has_ended;
    int status;

    if (ledger->writer == NULL)
        return sync_now(ledger, err);
    status = writer_collect(ledger->writer, &has_ended, err);
    if (status > 0)
        return 0;
    if (has_ended)
        ledger->kept = ledger->written;
    if (has_ended && status == 0)
        ledger->must_rewrite = false;
    if (status < 0)
        ledger->retry_us = num_now_us() + RETRY_US;
    else if ((journal_has_more(ledger->journal) || ledger->must_rewrite) && num_now_us() >= ledger->retry_us)
        begin_write(ledger);
    return status;
}

bool ledger_is_kept(const struct ledger *ledger, const struct job *job)
{
    return job->ticket <= ledger->kept;
}

int ledger_start_writer(struct ledger *ledger, void (*wake)(void *ctx), void *ctx, struct runner_error *err)
{
    return writer_start(ledger->journal, wake, ctx, &ledger->writer, err);
}

void ledger_stop_writer(struct ledger *ledger)
{
    struct runner_error err = ERROR_INIT;

    if (ledger == NULL || ledger->writer == NULL)
        return;
    if (writer_stop(ledger->writer, &err) == 0)
        ledger->must_rewrite = false;
    ledger->writer = NULL;
    (void)sync_now(ledger, &err); /* else it is told again, which changes nothing */
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

int ledger_open(const char *state_dir, struct ledger **ret, struct runner_error *damage, struct runner_error *err)
{
    struct ledger *ledger = mem_alloc(sizeof *ledger);

    for (int state = 0; state < JOB_STATES; state++)
        TAILQ_INIT(&ledger->lists[state]);
    if (journal_open(state_dir, found, ledger, &ledger->journal, damage, err) < 0 || rewrite(ledger, err) < 0) {
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
