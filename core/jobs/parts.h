/*
 * Private to core/jobs: the parts of the agent. Each has a step, which does what is due and says when (monotonic us)
 * it wants to be called next; replies and jobs that ended lead to a step as well. All run on the agent's thread but
 * for what says otherwise.
 */
#ifndef JOBS_PARTS_H
#define JOBS_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/jobs/agent.h"
#include "core/jobs/client.h"
#include "core/jobs/job.h"
#include "core/jobs/ledger.h"
#include "core/jobs/trace.h"

#define NEVER_US  INT64_MAX
#define SECOND_US INT64_C(1000000)

/* Whether the API can be reached at all. While it cannot, only the list of jobs is asked for, now and then; its
 * answer opens the way for everything else. */
struct outage {
    bool is_on;
    unsigned failures; /* since the last quiet time: answers between them do not count, or they would come in bursts */
    int64_t since_us, last_us, retry_us;
};

struct poller {
    bool is_polling, is_listing;
    unsigned poll_failures;
    int64_t next_poll_us, next_list_us;
    int64_t list_often_until_us; /* a poll was broken: what it would have brought is found by the list only */
    int page;
};

struct reporter {
    size_t n_in_flight;
    size_t n_repeats; /* outcomes that were told, and are to be told once more */
};

struct health {
    bool is_gathering, is_sending;
    int64_t next_us;
};

struct registration {
    bool is_asking;
    int64_t next_us; /* NEVER_US: it is as it must be */
};

struct sync {
    struct rows *rows; /* while the API is asked for its list: what has come of it */
    int64_t next_us;
    struct suspect *suspects; /* sandboxes that the API did not have lately, by id */
    size_t n_suspects;
    char reported[64], looked_at[64]; /* ids: whose state was reported last, which orphan was looked at last */
};

struct agent {
    struct agent_config config;
    struct client *client;
    struct ledger *ledger;
    struct trace *trace; /* NULL: none */
    struct outage outage;
    struct poller poller;
    struct reporter reporter;
    struct health health;
    struct registration registration;
    struct sync sync;
    unsigned random; /* of the jitter */

    pthread_t thread;
    pthread_mutex_t mutex; /* guards the members below */
    struct job *ended;     /* by workers, the last one first */
    char *health_body;     /* by a worker: to be sent, or NULL */
    bool is_draining, is_stopping;
    int64_t stop_us; /* is_stopping: until when results are told */
    struct agent_stats stats;
};

/* agent.c */
void agent_job_ended(struct agent *agent,
                     struct job *job); /* any thread: it has its outcome, and is the agent's again */
bool agent_is_draining(struct agent *agent);
/* us, more or less a tenth. */
int64_t agent_jitter(struct agent *agent, int64_t us);

/* outage.c */
bool outage_is_on(const struct outage *outage);
/* What an answer to `what` says of the API: false: it is no answer (status 0, 502 to 504, 429, 401, 403, no JSON
 * where there should be), and the outage begins or goes on. */
bool outage_judge(struct agent *agent, const char *what, const struct client_reply *reply);

/* poller.c */
int64_t poller_step(struct agent *agent, int64_t now_us);

/* health.c */
int64_t health_step(struct agent *agent, int64_t now_us);

/* registration.c */
int64_t registration_step(struct agent *agent, int64_t now_us);

/* sync.c */
int64_t sync_step(struct agent *agent, int64_t now_us);
void sync_free(struct sync *sync);

/* reporter.c */
int64_t reporter_step(struct agent *agent, int64_t now_us);
/* A new job for the resource: what was to be told of an earlier one once more is not any more, since it would be
 * taken for news. */
void reporter_end_repeats(struct agent *agent, const char *resource);

/* executor.c: has it done; job is RUNNING and in the ledger. It comes back by agent_job_ended(), maybe at once. */
void executor_begin(struct agent *agent, struct job *job);
/* It is over: failed, or (err NULL or code 0) done without a result. Any thread. */
void executor_end(struct agent *agent, struct job *job, const struct runner_error *err);
/* Begins what one type of job asks for; -1: it failed at once. */
typedef int executor_begin_fn(struct agent *agent, struct job *job, struct runner_error *err);

/* images.c */
/* Of a job that waits for an image: how far that is, as members of an object. */
void image_job_add_progress(const struct agent *agent, const struct job *job, struct str *out);
executor_begin_fn image_job_pull, image_job_remove, image_job_inspect;

#endif
