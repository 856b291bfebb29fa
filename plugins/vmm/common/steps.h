/* Batches of a vmm plugin's own: the steps they use, in short. Each returns a step's index, or -1 with err filled. */
#ifndef VMM_COMMON_STEPS_H
#define VMM_COMMON_STEPS_H

#include <stdbool.h>

#include "include/runner-plugin.h"

int steps_add_path(const struct runner_host *host, struct runner_batch *batch, uint32_t kind, uint32_t flags,
                   int64_t number, const char *path, struct runner_error *err);
/* A file in a directory that is there; gone again when a later step fails, with is_undone. */
int steps_add_write(const struct runner_host *host, struct runner_batch *batch, const char *path, const void *data,
                    size_t len, bool is_undone, struct runner_error *err);
/* What a step that ran wrote, "" for nothing; the caller frees. */
char *steps_text(const struct runner_host *host, const struct runner_batch *batch, int index);

/* ---- whole batches ---- */

/* What a program prints, with nothing on its standard input; the caller frees. NULL: it cannot be run, or fails. */
char *steps_output_of(const struct runner_host *host, struct runner_call *call, const char *const *argv,
                      int64_t limit_ms, struct runner_error *err);
/* Runs a trial guest by `run`, a RUN: 0 when it said PROBE_MARKER on its first serial port, which is that program's output,
 * and ended of its own accord. */
int steps_run_guest(const struct runner_host *host, struct runner_call *call, const struct runner_step *run,
                    struct runner_error *err);
/* The same with a guest of `size` bytes that lies at path meanwhile, and is gone whatever happens. */
int steps_run_guest_at(const struct runner_host *host, struct runner_call *call, const char *path, const void *guest,
                       size_t size, const struct runner_step *run, struct runner_error *err);

#endif
