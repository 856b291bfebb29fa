/*
 * Operations: what REST routes, jobs and recovery ask for. Each is a list of named phases, run on a worker in the lane of
 * its sandbox, with a deadline, a cancel, an undo per phase and the time that each phase took.
 */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "core/batch.h"
#include "core/engine.h"
#include "core/images/images.h"
#include "core/vm.h"

enum op_kind {
    OP_CREATE,
    OP_START,
    OP_STOP,
    OP_PAUSE,
    OP_RESUME,
    OP_DESTROY,
    OP_REPAIR,
    OP_RESIZE,
    OP_POLICY,
    OP_EXITED,
    OP_PANICKED,
    OP_RECOVER,
    OP_KINDS
};

#define OP_PHASES_MAX     16
#define OP_DIRECTORY_MODE 0710 /* of a sandbox whose VMM has a user of its own */

struct op_timing {
    const char *phase;
    int64_t us;
};

struct op {
    struct task task; /* first: what the pool runs */
    struct engine *engine;
    enum op_kind kind;
    const struct op_type *type; /* by kind, unless a phase goes on as another */
    char id[64];
    bool force;      /* STOP: no grace */
    bool is_full;    /* REPAIR: its disk is, so that it gets a larger one */
    bool is_refused; /* the runner stops: not begun, or cancelled */
    bool is_listed;  /* in the engine's list */
    struct op *next_running, *prev_running;
    bool is_undoing;
    bool is_torn_down; /* CREATE, START: what was made on the host was taken away, or that was tried; REPAIR: it is */
    bool is_detached; /* its network was taken away, and the record on the host may still say that it has one */
    bool is_stuck;     /* and something is left: what it was given stays its own, until that is gone (follow_up in op.c) */
    struct resize resize, was;   /* RESIZE, REPAIR: to what; and from what, once that is known */
    struct policy_change change; /* POLICY: what is asked for; owned */
    bool is_policy_refused;      /* POLICY, START: the network cannot keep it, as it turned out ... */
    bool was_policy_due;         /* ... and whether what was before is in force */
    struct policy policy;        /* POLICY, START: what the record gets, then what it had; owned */
    struct json *metadata;       /* START: what it brought, see start-request.h; owned, or NULL */
    char *auth_token;            /* CREATE, START, RESUME: for the guest's daemon; owned, a secret; or NULL */
    struct images *abandoned;    /* DESTROY: those whose fetches nobody waits for any more on behalf of its sandbox, or NULL */
    const char *job;             /* id of the API's job that it is for, or NULL; outlives it */
    bool is_heard, has_said_end; /* EXITED: its VMM was listened to; and said beforehand that it ends */

    struct runner_call call; /* id, deadline; cancel with call_cancel(&op->call) */
    struct host *host;
    struct sandbox *sandbox;    /* a reference; NULL while there is none */
    struct record *plan;        /* CREATE: the record to be (create_request_plan); owned until admitted */
    struct image_object source; /* CREATE: where its snapshot is fetched from, when it is not here; ref NULL: nowhere */
    struct runner_batch *batch; /* what the planning phases fill and the phase "host" runs */
    struct runner_batch *begun; /* what the phase "begin" carries out; NULL: nothing */

    const char *_Atomic phase; /* the name of that which runs; NULL: none yet */
    struct op_timing timings[OP_PHASES_MAX];
    size_t n_timings;
    int64_t queued_us, started_us;
    char *daemon_version; /* what the daemon answered, or NULL */

    struct runner_error err;              /* code 0: success */
    void (*done)(struct op *, void *ctx); /* worker; last use of the op before it is freed; may be NULL */
    void *ctx;
};

/* What a phase returns, beside -1: go on; success, skip the other phases; begin with the phases of op->type, which the
 * phase has set (nothing of what it did is undone then). */
enum { OP_NEXT = 0, OP_ENOUGH = 1, OP_BECOME = 2 };

struct op_phase {
    const char *name;
    int (*run)(struct op *op, struct runner_error *err);
    /* After a later phase failed (not this one): adds to err what could not be undone. May be NULL. */
    void (*undo)(struct op *op, struct runner_error *err);
};

struct op_type {
    const char *name;
    const struct op_phase *phases;
    size_t n_phases;
};
extern const struct op_type op_create, op_create_stopped, op_start, op_stop, op_pause, op_resume, op_destroy, op_repair,
    op_expand, op_resize, op_resize_running, op_policy, op_exited, op_panicked, op_recover, op_takeover;

/* id must be valid (text_is_id). */
struct op *op_new(struct engine *engine, enum op_kind kind, const char *id);
/* Takes the plan over. Left stopped when its request says skipStart. */
struct op *op_new_create(struct engine *engine, struct record *plan);
/* Queues it; afterwards it belongs to the worker. -1 (BUSY): it stays the caller's, who frees it. */
int op_submit(struct op *op, struct runner_error *err);
void op_free(struct op *op); /* takes NULL */
/* Cancels all that run but for those that are being undone already. Any thread. */
void op_cancel_all(struct engine *engine);
/* The phase that an operation on this sandbox is in, valid for ever; NULL: none runs, or it is being undone. Any thread. */
const char *op_phase_of(struct engine *engine, const char *id);
const char *op_name(enum op_kind kind);
/* A line for each list of phases: its name as the log has it, then the phases' names. */
void op_list(struct str *out);

/* Phases that several types share (core/op.c, core/op-vm.c). */
/* NOTFOUND: there is no such sandbox; BUSY: it is another runner's still, and is to be taken over or destroyed first, or
 * its record cannot be read. */
int op_find(struct op *op, struct runner_error *err);
/* Of one whose record could not be read: reads it again, now as at start-up. Afterwards it is like any other. */
int op_read_again(struct op *op, struct runner_error *err);
/* Before it is destroyed: what can be read or found of it is in its record. */
int op_know_unread(struct op *op, struct runner_error *err);
/* Says in the record which VMM the machine gets, as whom it runs and in which cgroup; core/op-process.c. */
int op_assign(struct op *op, struct runner_error *err);
void op_unassign(struct op *op); /* its uid is free again */
/* Gives the VMM's user what it needs of the sandbox's directory. */
int op_plan_owner(struct op *op, struct runner_error *err);
/* Adds the step that gives the disk to the user whom the VMM runs as. 0 or -1. */
int op_own_disk(struct op *op, struct runner_error *err);
/* The VMM that runs it; NULL and NOTSUP: it is not configured any more. */
struct instance *op_vmm(struct op *op, struct runner_error *err);
/* The same, and its machine as it is told of it, for INSTANCE_CALL(vmm, vmm, boot, &op->call, &view.vm, err). */
struct instance *op_vmm_view(struct op *op, struct vm_view *ret_view, struct runner_error *err);
int op_plan_network(struct op *op, struct runner_error *err);
void op_unplan_network(struct op *op, struct runner_error *err);
/* What the network's plugin remembers of the sandbox is free for others: nothing of it is on the host any more. */
int op_release_network(struct op *op, struct runner_error *err);
/* NOTSUP: the host's network cannot keep a sandbox to this policy. */
int op_check_policy(const struct op *op, const struct policy *policy, struct runner_error *err);
/* Adds the steps that put the record's policy in force for an attached sandbox; none where the network cannot. */
int op_plan_policy(struct op *op, struct runner_batch *batch, struct runner_error *err);
/* For one that runs already. A failure is tried again, and told or logged; of one that op->is_policy_refused the policy is
 * to be taken back, and it is due then as it was before. */
int op_apply_policy(struct op *op, struct runner_error *err);
void op_enforce_policy(struct op *op);
void op_set_policy_due(struct op *op, bool is_due);
/* How long a VMM is waited for to take back what failed: less than a runner that stops has for what it interrupts. */
#define OP_BACK_MS 5000
/* Whether it runs or is paused, its record may not say. */
void op_set_state_due(struct op *op, bool is_due);
/* The record gets op->policy, and the operation what the record had. */
void op_swap_policy(struct op *op);
int op_plan_seed(struct op *op, struct runner_error *err);
int op_plan_spawn(struct op *op, struct runner_error *err);
/* What is planned from now on is not waited for by a VMM of CAP_EARLY, where the transport can carry out a batch in parts. */
int op_split(struct op *op, struct runner_error *err);
/* Phase "begin", before what such a VMM need not wait for is planned, or at least done: plans its process, which
 * op_plan_spawn() does not then, and sends it on its way if that can be. One that is, op_run_batch() ends or, where that is
 * not come to, op_unbegin(), of which -1 says that something is left. */
int op_begin(struct op *op, struct runner_error *err);
int op_unbegin(struct op *op, struct runner_error *err);
int op_run_batch(struct op *op, struct runner_error *err); /* phase "host" */
int op_boot(struct op *op, struct runner_error *err);
/* What a VMM finds wrong is no fault of who asked: the code says so. Returns -1. */
int op_blame_host(struct runner_error *err);
int op_ready(struct op *op, struct runner_error *err);
/* Has the guest's daemon told the token that the request brought, on another worker: what becomes of that is logged. Not
 * where the settings say that daemons are told none. */
void op_tell_token(struct op *op, const struct sandbox *sandbox);

/* Whether the VMM's process lives; else its wait status, -1 when nobody knows (it was not this runner's child). */
int op_probe(struct op *op, bool *ret_alive, int *ret_status, struct runner_error *err);

/* The process of a sandbox that is another runner's still: it is that of vmm.pid from now on. None runs: fine. -1: one
 * does, and cannot be taken over. */
int op_find_foreign_process(struct op *op, struct runner_error *err);

/* Ends the VM's process: the power button and grace_ms first (0: not), then SIGTERM, then SIGKILL; each step waits for
 * the event. A button that cannot be pressed within grace_ms is logged. Nothing running: fine. */
int op_end_vm(struct op *op, int64_t grace_ms, struct runner_error *err);
/* A stopped one gets the size op->resize: of its host's capacity, then its disk, unless that has it. */
int op_can_grow(const struct op *op, struct runner_error *err); /* NOTSUP: disks of its host cannot */
int op_take_room(struct op *op, struct runner_error *err);
void op_give_room_back(struct op *op, struct runner_error *err);
int op_grow_disk(struct op *op, struct runner_error *err);
/* Ends the VM at once and takes its network and sockets away. Idempotent. */
int op_tear_down(struct op *op, struct runner_error *err);
/* Removes the sandbox's directory and all in it. */
int op_remove_directory(struct op *op, struct runner_error *err);
/* Writes the record with this state (and error text, NULL: none) durably, then makes it what the index says. */
int op_commit(struct op *op, enum sandbox_state state, const char *error, struct runner_error *err);
/* The same on the way to that state: its job is not done yet. */
int op_mark(struct op *op, enum sandbox_state state, struct runner_error *err);
/* Adds the step that writes the sandbox's record as it is. */
int op_add_record(struct op *op, uint32_t flags, struct runner_error *err);
/* Appends the last lines of the serial log to err: why a guest did not come up. */
void op_quote_serial(struct op *op, struct runner_error *err);

#endif
