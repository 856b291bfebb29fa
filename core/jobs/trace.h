/*
 * Spans, as OTLP over HTTP with JSON: one of each job, below the span that the API began it with, one of each phase of
 * its operation, and one of each word to the API. They wait in a bounded queue; what does not fit is dropped and counted,
 * and nothing waits for a collector. All on the agent's thread.
 */
#ifndef JOBS_TRACE_H
#define JOBS_TRACE_H

#include "core/jobs/agent.h"
#include "core/jobs/client.h"
#include "core/jobs/job.h"

struct trace;

struct trace_config {     /* strings: the caller's */
    const char *endpoint; /* base URL; "/v1/traces" is added. NULL: no spans are made */
    const char *headers;  /* "key=value,key=value" for the collector, may be secret; or NULL */
};

/* NULL when there is no endpoint: every function takes that. */
struct trace *trace_new(const struct trace_config *config, struct client *client);
void trace_free(struct trace *trace);

/* Gives a job that begins its place in a trace: job->trace. */
void trace_begin(struct trace *trace, struct job *job);
/* It has an outcome. */
void trace_job(struct trace *trace, const struct job *job);
/* The API was told, or not: status is that of HTTP. begin_us: monotonic. */
void trace_told(struct trace *trace, const struct job *job, int64_t begin_us, int status);

/* Sends what waits when it is time, or at once; when it wants to be called next. */
int64_t trace_step(struct trace *trace, int64_t now_us, bool at_once);
bool trace_is_idle(const struct trace *trace); /* nothing waits */
struct trace_stats trace_stats(const struct trace *trace);

#endif
