/*
 * A host table for tests of plugins, and for runner-plugin-check: records what a plugin asks for and answers as the
 * test says. A batch is kept as steps. When it is run, it goes to the test's transport (a world, see kit/fake/world.h,
 * or a real one); without one it is answered step by step: by scripted answers, else by the test's function, else each step
 * succeeds with an empty result. dial connects for real (unix:, tcp:, fifo:).
 *
 * What plugins call may be called on any thread, what tests call only while no plugin is being called.
 */
#ifndef KIT_FAKE_HOST_H
#define KIT_FAKE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/str.h"
#include "include/runner-plugin.h"

/* The one table, and the one call to pass to operations; more calls, for operations at once. */
struct runner_host *fake_host(void);
struct runner_call *fake_call(void);
struct runner_call *fake_call_new(void);
void fake_call_free(struct runner_call *call);

/* Forget everything recorded and scripted; root "/root-of-host", no deadline, no cancel, allocations succeed. */
void fake_host_reset(void);
void fake_host_forget(void);           /* what was recorded only */
void fake_host_root(const char *path); /* copied */
void fake_host_deadline(int64_t ms);   /* from now; -1: none */
void fake_host_cancel(bool is_wanted);
void fake_host_cancel_fd(int fd);            /* readable: cancelled; -1: none. It stays the test's */
void fake_host_alloc_fails_after(int64_t n); /* the n+1st alloc and all later ones fail; -1: never */

/* Called for each step of a batch that is run and has no scripted answer: fills *result (out: from
 * fake_host()->alloc) and returns 0, or -1 with err filled. */
typedef int fake_step_fn(void *arg, const struct runner_step *step, struct runner_result *result,
                         struct runner_error *err);
void fake_host_on_step(fake_step_fn *fn, void *arg);

/* Asked before each service: 0, or the RUNNER_E_* that it fails with. subject: the step of ADD and STEP, the address of
 * DIAL. call: NULL where the service has none. ADD_OWN: to a batch that the plugin made for itself. Any thread. */
enum fake_site { FAKE_ALLOC, FAKE_ADD, FAKE_ADD_OWN, FAKE_RUN, FAKE_STEP, FAKE_DIAL, FAKE_WAIT, FAKE_ASK, FAKE_SITES };
typedef int fake_gate_fn(void *arg, enum fake_site site, struct runner_call *call, const void *subject);
void fake_host_gate(fake_gate_fn *fn, void *arg);

/* Batches run on this transport; dial too, when it has one. NULL: none. */
void fake_host_transport(const struct runner_transport_ops *ops, void *self);
/* Sockets and FIFOs that are dialled are this unix socket, which the test listens at; NULL: what they are. Copied. */
void fake_host_dial_to(const char *path);
/* Runs the operation's batch as core would. */
int fake_host_run_batch(struct runner_batch *batch, struct runner_error *err);
/* Undoes, on the transport, a batch that ran; what could not be undone, a line each. */
void fake_host_undo_batch(struct runner_batch *batch, struct str *ret_faults);

/*
 * Scripted answers, used once each, in the order of their making: for the next step of that kind whose line (see
 * fake_step_text) contains `match` ("" for any). out may be NULL. _always: as often as it is asked for.
 */
void fake_host_answer(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out);
void fake_host_answer_always(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out);
void fake_host_refuse(uint32_t kind, const char *match, int code, const char *message);
size_t fake_host_unused(void); /* scripted answers that nobody asked for */
/* For transports: 1 when there is a scripted answer, and *result is filled; -1 when it is a refusal; 0: none. */
int fake_host_scripted(const struct runner_step *step, struct runner_result *result, struct runner_error *err);

/* Recorded: one line a step of every batch run without a transport; one line a log event ("level event key=value ...").
 * Valid until the next call of the host. */
const char *fake_host_ran(void);
const char *fake_host_log(void);
/* The steps that were added to any batch, a line each, while they are kept. */
void fake_host_keep_added(bool is_wanted);
const char *fake_host_added(void);
size_t fake_host_live(void); /* host->alloc'd blocks and batches not released yet */

/* A batch to plan into, freed by fake_host()->batch_free; its steps; its lines (the caller frees). */
struct runner_batch *fake_batch(void);
size_t fake_batch_len(const struct runner_batch *batch);
const struct runner_step *fake_batch_step(const struct runner_batch *batch, size_t index);
char *fake_batch_text(const struct runner_batch *batch);

/*
 * One step as a line, without newline, e.g.
 *   WRITE /a/b mode=0600 len=12 data="text\x00" +sync
 *   RENAME /a -> /b
 *   RUN [tail][-c][4096] ms=500 +any-status
 *   SPAWN [qemu][-S] pid=/p output=/o uid=7 gid=7 groups_of=/dev/kvm cgroup=c memory=9 tasks=9 fds=3:listen:/s,4:fifo:/l
 *   OWN /a mode=0600 uid=7 gid=7
 * followed by " undo: <step>". data is cut after 1000 bytes, and is *** with +secret. The caller frees.
 */
char *fake_step_text(const struct runner_step *step);

#endif
