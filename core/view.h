/* What the runner says of itself and its sandboxes: bodies of the GET routes. Worker threads; may block. */
#ifndef CORE_VIEW_H
#define CORE_VIEW_H

#include "core/engine.h"
#include "core/http/http.h"

/* {"sandboxes":[...]}, with cpuMs and rssBytes of the VMM processes when with_stats. */
int view_list(struct engine *engine, struct runner_call *call, bool with_stats, struct str *out,
              struct runner_error *err);
/* SandboxInfoResponse and what the list has. A missing sandbox is state "destroyed" (contract 1.3).
 * with_stats: cpuMs, rssBytes, and "counters" where its VMM has them. */
int view_sandbox(struct engine *engine, struct runner_call *call, const char *id, bool with_stats, struct str *out,
                 struct runner_error *err);
/* What it may reach: the settings as a job would bring them, and isEnforced: the network keeps it to them. */
int view_network(struct engine *engine, struct runner_call *call, const char *id, struct str *out,
                 struct runner_error *err);
/* The serial log, or its last `tail` bytes (decimal text; NULL: 1 MiB). */
int view_log(struct engine *engine, struct runner_call *call, const char *id, const char *tail, struct str *out,
             struct runner_error *err);
/* Adds "serviceHealth" and "metrics", as healthchecks have them (contract 3.1). Waits at most about wait_ms for hosts. */
void view_add_health(struct engine *engine, int64_t wait_ms, struct str *out);
/* RunnerInfoResponseDTO. */
void view_info(struct engine *engine, struct runner_call *call, struct str *out);
/* Prometheus text. */
void view_metrics(struct engine *engine, struct runner_call *call, const struct http_server *server, struct str *out);

#endif
