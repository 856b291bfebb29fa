/*
 * A host table for unit tests of plugins: records what a plugin asks for and answers as the test says. A batch is kept as
 * steps, a run batch is answered step by step: by the test's function, else by scripted answers, else each step succeeds
 * with an empty result. dial connects for real (unix: and tcp:). One thread at a time.
 */
#ifndef PLUGIN_FAKE_HOST_H
#define PLUGIN_FAKE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/runner-plugin.h"

/* The one table, and the one call to pass to operations. */
struct runner_host *fake_host(void);
struct runner_call *fake_call(void);

/* Forget everything recorded and scripted; root "/root-of-host", no deadline, no cancel, allocations succeed. */
void fake_host_reset(void);
void fake_host_root(const char *path); /* copied */
void fake_host_deadline(int64_t ms);   /* from now; -1: none */
void fake_host_cancel(bool cancelled);
void fake_host_alloc_fails_after(int64_t n); /* the n+1st alloc and all later ones fail; -1: never */
/* Called for each step of a batch that is run and has no scripted answer: fills *result (out: from
 * fake_host()->alloc) and returns 0, or -1 with err filled. */
typedef int fake_step_fn(void *arg, const struct runner_step *step, struct runner_result *result,
                         struct runner_error *err);
void fake_host_on_step(fake_step_fn *fn, void *arg);

/*
 * Scripted answers, used once each, in the order of their making: for the next step of that kind whose line (see
 * fake_step_text) contains `match` ("" for any). out may be NULL.
 */
void fake_host_answer(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out);
void fake_host_refuse(uint32_t kind, const char *match, int code, const char *message);
size_t fake_host_unused(void); /* scripted answers that nobody asked for */

/* Recorded: one line a step of every batch run so far; one line a log event ("level event key=value ..."). Valid until
 * the next call of the host. */
const char *fake_host_ran(void);
const char *fake_host_log(void);
size_t fake_host_live(void); /* host->alloc'd blocks and batches not released yet */

/* A batch to plan into, freed by fake_host()->batch_free; its steps; its lines (the caller frees). */
size_t fake_batch_len(const struct runner_batch *batch);
const struct runner_step *fake_batch_step(const struct runner_batch *batch, size_t index);
char *fake_batch_text(const struct runner_batch *batch);

/*
 * One step as a line, without newline, e.g.
 *   WRITE /a/b mode=0600 len=12 data="text\x00" +sync
 *   RENAME /a -> /b
 *   RUN [tail][-c][4096] ms=500 +any-status
 *   SPAWN [qemu][-S] pid=/p output=/o uid=7 fds=3:listen:/s,4:append:/l
 * followed by " undo: <step>". data is cut after 1000 bytes, and is *** with +secret. The caller frees.
 */
char *fake_step_text(const struct runner_step *step);

#endif
