/*
 * The runner as a client of the Daytona API, protocol v2: one thread that polls for jobs, has workers do them as
 * operations, and tells how they ended. It waits for nothing but its own events; see parts.h for what it is made of.
 */
#ifndef JOBS_AGENT_H
#define JOBS_AGENT_H

#include "core/engine.h"
#include "core/util/str.h"

struct agent;

struct trace_stats {
    unsigned long sent, dropped; /* spans */
};

struct agent_stats { /* for /metrics */
    unsigned long jobs_completed, jobs_failed, jobs_running, jobs_untold, requests_failed;
    struct trace_stats spans;
    bool is_reachable; /* the API answered the last request */
};

struct agent_config { /* strings: copied */
    struct engine *engine;
    const char *domain; /* host name or address by which the API's other parts reach this runner; NULL: not known */
    const char *url;    /* of its REST routes, for those; NULL: it does not listen for them */
    /* Adds "serviceHealth" and "metrics" of a healthcheck; worker, at most about wait_ms. */
    void (*add_health)(struct engine *engine, int64_t wait_ms, struct str *out);
};

/* Reads what an earlier runner left to be told, and starts the thread. */
int agent_start(const struct agent_config *config, struct agent **ret, struct runner_error *err);
/* No more jobs are taken; those that run go on. Takes NULL. */
void agent_drain(struct agent *agent);
/* Tells what has ended, for at most wait_ms, then ends the thread. What is not told is kept for the next start. No
 * job runs on a worker any more. Takes NULL. */
void agent_stop(struct agent *agent, int64_t wait_ms);

void agent_read_stats(struct agent *agent, struct agent_stats *ret); /* any thread; agent may be NULL: all 0 */

#endif
