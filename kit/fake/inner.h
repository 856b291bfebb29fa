/* What the files of the fake host share. */
#ifndef KIT_FAKE_INNER_H
#define KIT_FAKE_INNER_H

#include <pthread.h>

#include "core/util/str.h"
#include "kit/fake/host.h"

struct runner_call {
    int64_t deadline_ms; /* by num_now_ms(), -1: none */
    bool is_cancelled;
    int cancel_fd; /* readable: cancelled; -1: none. The test's to close */
};

struct runner_batch {
    struct runner_step **steps;
    struct runner_result *results;
    size_t n;
    bool is_callers, has_run;
};

struct answer {
    uint32_t kind;
    char *match, *out;
    int32_t status;
    int64_t number;
    int code; /* RUNNER_E_*: the step fails, and out is the message */
    bool is_kept, is_used;
};

struct fake {
    pthread_mutex_t lock; /* guards what follows, but for what is set before the plugin is called */
    struct runner_call call;
    char *root;
    struct str ran, log, added;
    bool is_keeping_added;
    struct answer *answers;
    size_t n_answers, live;
    int64_t allocs_left;
    fake_step_fn *on_step; /* set before the plugin is called, as the rest */
    void *on_step_arg;
    fake_gate_fn *gate;
    void *gate_arg;
    const struct runner_transport_ops *transport;
    void *transport_self;
    char *dial_to; /* NULL: none */
};
extern struct fake fake;

/* What the gate says: 0, or the code that the service fails with. */
int fake_gate(enum fake_site site, struct runner_call *call, const void *subject);
/* fail() with the gate's code. */
int fake_gate_fail(int code, const char *what, struct runner_error *err);

/* host.c. alloc_own: no test makes it fail */
void *fake_alloc_own(size_t size);
void fake_release(void *p);

/* step.c */
struct runner_step *fake_step_copy(const struct runner_step *from);
void fake_step_free(struct runner_step *step); /* takes NULL */

/* batch.c: services */
struct runner_batch *fake_batch_new(struct runner_call *call);
void fake_batch_free(struct runner_batch *batch);
int fake_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err);
const struct runner_result *fake_result(const struct runner_batch *batch, int index);
int fake_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err);

/* call.c: services */
int fake_cancelled(struct runner_call *call);
int fake_wait(struct runner_call *call, int fd, short events, int64_t ms);
int64_t fake_left_ms(struct runner_call *call);
int fake_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err);

#endif
