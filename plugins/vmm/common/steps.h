/* Batches of a vmm plugin's own: the steps they use, in short. Each returns a step's index, or -1 with err filled. */
#ifndef VMM_COMMON_STEPS_H
#define VMM_COMMON_STEPS_H

#include <stdbool.h>

#include "include/runner-plugin.h"

int steps_add_path(const struct runner_host *host, struct runner_batch *batch, uint32_t kind, uint32_t flags,
                   int64_t number, const char *path, struct runner_error *err);
/* RUN, with nothing on standard input. */
int steps_add_run(const struct runner_host *host, struct runner_batch *batch, uint32_t flags, const char *const *argv,
                  int64_t limit_ms, struct runner_error *err);
/* A file in a directory that is there; gone again when a later step fails, with is_undone. */
int steps_add_write(const struct runner_host *host, struct runner_batch *batch, const char *path, const void *data,
                    size_t len, bool is_undone, struct runner_error *err);
/* What a step that ran wrote, "" for nothing; the caller frees. */
char *steps_text(const struct runner_host *host, const struct runner_batch *batch, int index);
/* Runs a batch whose step `index` (-1: it could not be added, err says so) is the RUN of a trial guest: it must have said
 * PROBE_MARKER on its first serial port, which is that program's output, and ended of its own accord. */
int steps_run_guest(const struct runner_host *host, struct runner_call *call, struct runner_batch *batch, int index,
                    struct runner_error *err);

#endif
