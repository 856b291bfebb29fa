/* A job of the Daytona API, as a poll delivers it (contract 2.2, 2.7), and how it ended. */
#ifndef JOBS_JOB_H
#define JOBS_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/util/error.h"
#include "core/util/json.h"

enum job_type {
    JOB_CREATE_SANDBOX,
    JOB_START_SANDBOX,
    JOB_STOP_SANDBOX,
    JOB_PAUSE_SANDBOX,
    JOB_DESTROY_SANDBOX,
    JOB_RESIZE_SANDBOX,
    JOB_RECOVER_SANDBOX,
    JOB_UPDATE_SANDBOX_NETWORK_SETTINGS,
    JOB_CREATE_BACKUP,
    JOB_SNAPSHOT_SANDBOX,
    JOB_FORK_SANDBOX,
    JOB_BUILD_SNAPSHOT,
    JOB_PULL_SNAPSHOT,
    JOB_REMOVE_SNAPSHOT,
    JOB_INSPECT_SNAPSHOT_IN_REGISTRY,
    JOB_TYPES /* and any other type */
};

enum job_state {
    JOB_RUNNING,
    JOB_ENDED, /* it has an outcome ... */
    JOB_TOLD,  /* ... which the API has, or does not want */
    JOB_STATES
};

#define JOB_PHASES_MAX 20

struct job_phase {
    const char *name; /* constant */
    int64_t begin_us, us;
};

struct job {
    char *id;   /* [0-9a-fA-F-]+ */
    char *name; /* of the type, as it came */
    enum job_type type;
    char *resource;        /* id of a sandbox, or a snapshot reference: as it came, not validated */
    struct json *payload;  /* an object; NULL: there was none */
    char *payload_problem; /* why what came is none, or NULL */
    char *traceparent;     /* W3C trace context, or NULL */

    enum job_state state;
    bool is_failed;
    char *error;        /* FAILED: errorMessage */
    char *result;       /* COMPLETED: resultMetadata (JSON), or NULL */
    bool is_told_twice; /* the API may lose the first word (contract 10.5) ... */
    bool is_told_once;  /* ... which it has had */
    uint64_t ticket;    /* the ledger's: of its outcome among all; 0: it is on disk since the start */

    struct job_phase phases[JOB_PHASES_MAX]; /* of its operation */
    size_t n_phases;
    struct {
        char trace_id[33], span_id[17]; /* hexadecimal; "": not traced */
    } trace;

    /* The reporter's: monotonic times, requests. */
    int64_t begun_us, told_us, retry_us, beat_us;
    unsigned beats, failures;
    bool is_in_flight;

    TAILQ_ENTRY(job) link; /* of the ledger's list of its state */
    struct job *next;      /* of a list of the moment */
    struct job *same;      /* of the ledger's table */
};
TAILQ_HEAD(job_list, job);

bool job_is_id(const char *text);
struct job *job_new(const char *id);
void job_free(struct job *job); /* takes NULL */

/* from: an object of a poll or a list. INVALID: it has no id by which it could be answered. Anything else that is
 * wrong is the job's own failure, for its executor to tell. */
int job_parse(const struct json *from, struct job **ret, struct runner_error *err);

/* How it ended; on any thread that has it. result: taken over, or NULL. */
void job_complete(struct job *job, char *result);
/* The text is cut where it is longer than the API keeps. */
void job_fail(struct job *job, const char *message);

#endif
