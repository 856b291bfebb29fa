/* Makes the runner a client of the Daytona API, when it is configured to be one. */
#ifndef CORE_JOBS_START_H
#define CORE_JOBS_START_H

#include "core/engine.h"
#include "core/http/http.h"

/* Sets engine->agent; without api.url, or with api.version 0, to NULL. The server listens by now. Main thread. */
int jobs_start(struct engine *engine, const struct http_server *server, struct runner_error *err);

#endif
