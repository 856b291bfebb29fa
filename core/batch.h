/* struct runner_batch: host steps that one transport round trip carries out. Owned by one thread at a time. */
#ifndef CORE_BATCH_H
#define CORE_BATCH_H

#include <stdbool.h>

#include "core/util/str.h"
#include "include/runner-plugin.h"

#define BATCH_STEPS_MAX 4096

struct runner_batch *batch_new(struct runner_call *call);
void batch_free(struct runner_batch *batch);
CLEANUP_DEFINE(cleanup_batch, struct runner_batch, batch_free)
#define auto_batch CLEANUP(cleanup_batch)

/* Copies the step and all it points to. The index, or -1: INVALID for a malformed step, BUSY when the batch ran. */
int batch_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err);
/* The same with the step's data, which is taken over and not copied; where it fails, it stays the caller's. */
int batch_add_given(struct runner_batch *batch, const struct runner_step *step, struct str *data,
                    struct runner_error *err);
/* NULL before the batch ran, or when that step did not. */
const struct runner_result *batch_result(const struct runner_batch *batch, int index);
/* Once per batch. On failure the transport has undone what it could. An empty batch succeeds. */
int batch_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err);
/* A batch of one step: batch_add() and batch_run(). */
static inline int batch_run_step(struct runner_call *call, struct runner_batch *batch, const struct runner_step *step,
                                 struct runner_error *err)
{
    return batch_add(batch, step, err) < 0 ? -1 : batch_run(call, batch, err);
}

/* Where host_can_begin(): the batch is carried out, but a process that it starts may be on its way still. What is behind it
 * is planned meanwhile, as a batch of its own, and batch_end() carries that out as if it were one with the first: what fails
 * undoes both. rest NULL: there is no more, and the first one is undone: -1 when not all of it could be. */
int batch_begin(struct runner_call *call, struct runner_batch *batch, struct runner_error *err);
bool batch_is_begun(const struct runner_batch *batch); /* and not ended; false for NULL */
int batch_end(struct runner_call *call, struct runner_batch *begun, struct runner_batch *rest, struct runner_error *err);

size_t batch_length(const struct runner_batch *batch);
/* One line a step, for tests, dry runs and the debug log: `MKDIR /x mode=700`, `RUN ip link ...`. Data of a
 * RUNNER_S_SECRET step is not shown, other data as its length. */
void batch_print(const struct runner_batch *batch, struct str *out);

#endif
