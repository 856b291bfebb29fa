#include "kit/op.h"

#include <stdio.h>
#include <string.h>

#include "core/plugin-check.h"
#include "core/util/num.h"

#define SITE(name) (1u << (name))

enum { NTH_MAX = 500 }; /* a plugin that asks the host more often than this is not followed to the end */

/* ---- one trial ---- */

static struct trial *armed;

/* Counts the services that the fault is about, and refuses the one it says. */
static int gate(void *arg, enum fake_site site, struct runner_call *call, const void *subject)
{
    struct trial *t = armed;
    int n;

    (void)arg, (void)call, (void)subject;
    if (t == NULL || !(t->fault.sites & SITE(site)))
        return 0;
    n = __atomic_fetch_add(&t->n_asked, 1, __ATOMIC_RELAXED);
    if (n < t->fault.nth || (n > t->fault.nth && !t->fault.is_lasting))
        return 0;
    __atomic_fetch_add(&t->n_hits, 1, __ATOMIC_RELAXED);
    if (t->fault.is_lasting && t->fault.code == RUNNER_E_TIMEOUT)
        fake_host_deadline(0);
    return t->fault.code;
}

void trial_begin(struct trial *t)
{
    t->err = (struct runner_error)ERROR_INIT;
    fake_host_gate(gate, NULL);
    t->ms = num_now_ms();
    armed = t;
}

void trial_end(struct trial *t, int status)
{
    armed = NULL;
    t->ms = num_now_ms() - t->ms;
    t->status = status;
    fake_host_deadline(-1);
}

const char *fault_text(const struct trial *t)
{
    static const char *const names[] = {"alloc", "add",  "add to a batch of its own", "run",
                                        "step",  "dial", "wait",                      "cancelled"};
    static char text[120];
    const char *name = "call of the host";

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (t->fault.sites == SITE(i))
            name = names[i];
    if (t->fault.sites == 0)
        (void)snprintf(text, sizeof text, "without a fault");
    else
        (void)snprintf(text, sizeof text, "with %s at %s number %d%s", error_name(t->fault.code), name,
                       t->fault.nth + 1, t->fault.is_lasting ? " and all behind it" : "");
    return text;
}

/* ---- sweeps ---- */

static bool try_one(struct subject *s, const struct op *op, struct fault fault, look_fn *look, void *arg)
{
    struct trial t = {.fault = fault};

    subject_renew(s);
    op->call(s, &t);
    if (t.n_hits > 0 || fault.sites == 0)
        look(op, &t, arg);
    return t.n_hits > 0;
}

/* The fault at the first of these, the second, ... until the operation ends without having met it: how often it did. */
static int try_each(struct subject *s, const struct op *op, unsigned sites, int code, bool is_lasting, look_fn *look,
                    void *arg)
{
    int nth = 0;

    while (nth < NTH_MAX && try_one(s, op, (struct fault){sites, nth, code, is_lasting}, look, arg))
        nth++;
    return nth;
}

static void try_faults(struct subject *s, const struct op *op, look_fn *look, void *arg)
{
    static const enum fake_site sites[] = {FAKE_STEP, FAKE_DIAL};

    (void)try_each(s, op, SITE(FAKE_ADD), RUNNER_E_INVALID, false, look, arg);
    (void)try_each(s, op, SITE(FAKE_ADD_OWN), RUNNER_E_INVALID, false, look, arg);
    for (size_t i = 0; i < ARRAY_LEN(sites); i++)
        for (int code = RUNNER_E_INVALID; code <= RUNNER_E_DENIED; code++) {
            if (code == RUNNER_E_CANCELLED || code == RUNNER_E_TIMEOUT)
                continue; /* those last: see CANCEL and DEADLINE */
            if (try_each(s, op, SITE(sites[i]), code, false, look, arg) == 0)
                break; /* it asks for no such service */
        }
    (void)try_one(s, op, (struct fault){SITE(FAKE_STEP) | SITE(FAKE_DIAL), 0, RUNNER_E_IO, true}, look, arg);
}

void op_sweep(struct subject *s, const struct op *op, enum aspect aspect, look_fn *look, void *arg)
{
    const unsigned blocking = SITE(FAKE_RUN) | SITE(FAKE_STEP) | SITE(FAKE_DIAL) | SITE(FAKE_WAIT) | SITE(FAKE_ASK);

    switch (aspect) {
    case FAULTS:
        try_faults(s, op, look, arg);
        break;
    case NOMEM:
        (void)try_each(s, op, SITE(FAKE_ALLOC), RUNNER_E_NOMEM, false, look, arg);
        (void)try_one(s, op, (struct fault){SITE(FAKE_ALLOC), 0, RUNNER_E_NOMEM, true}, look, arg);
        break;
    case CANCEL:
        (void)try_each(s, op, blocking, RUNNER_E_CANCELLED, true, look, arg);
        break;
    case DEADLINE:
        (void)try_each(s, op, blocking, RUNNER_E_TIMEOUT, true, look, arg);
        break;
    default:
        (void)try_one(s, op, (struct fault){0}, look, arg);
    }
    subject_destroy(s);
}

enum aspect op_aspects(const struct op *op)
{
    return op->refuses != 0 ? FAULTS : SIZES; /* what is refused at once meets no fault */
}

void op_sweep_all(struct subject *s, look_fn *look, void *arg)
{
    const struct kind *kind = kind_of(s->plugin->desc.kind);

    for (size_t i = 0; i < kind->n_ops; i++)
        for (enum aspect aspect = AS_IS; aspect < op_aspects(&kind->ops[i]); aspect++)
            if (op_is_there(&kind->ops[i], s->plugin) && !point_is_fatal(&kind->ops[i], aspect))
                op_sweep(s, &kind->ops[i], aspect, look, arg);
}

bool op_is_there(const struct op *op, const struct plugin *plugin)
{
    size_t n;
    const struct plugin_op *ops;

    if (plugin == NULL)
        return true;
    if (op->is_there != NULL)
        return op->is_there(plugin);
    ops = plugin_ops_of(plugin->desc.kind, &n);
    for (size_t i = 0; i < n; i++) /* "clone-too-large" is a way to call clone */
        if (strncmp(ops[i].name, op->name, strcspn(op->name, "-")) == 0 &&
            ops[i].name[strcspn(op->name, "-")] == '\0')
            return plugin_has_op(plugin, &ops[i]);
    return false;
}

/* ---- the points of an operation ---- */

static void look_as_is(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (t->status != 0 && (op->flags & OP_MAY_FAIL))
        skip_point("in a host that is not real it says: %s (see --answer)", t->err.message);
    if (t->status != 0)
        flaw("it fails: %s", t->err.message);
}

static void point_as_is(struct subject *s, const struct point *point)
{
    op_sweep(s, point->op, AS_IS, look_as_is, NULL);
}

static void look_faults(const struct op *op, const struct trial *t, void *arg)
{
    ++*(int *)arg;
    if (t->status == 0 && !(op->flags & OP_TELLS) && (t->fault.sites == SITE(FAKE_ADD) || t->fault.is_lasting))
        flaw("it succeeds %s", fault_text(t));
}

static void point_faults(struct subject *s, const struct point *point)
{
    int n = 0;

    op_sweep(s, point->op, FAULTS, look_faults, &n);
    if (n == 0)
        skip_point("it asks the host for nothing that can fail");
}

static void look_nomem(const struct op *op, const struct trial *t, void *arg)
{
    (void)op;
    ++*(int *)arg;
    if (t->status == 0 || t->err.code != RUNNER_E_NOMEM)
        flaw("it returns %d, code %s, %s", t->status, error_name(t->err.code), fault_text(t));
}

static void point_nomem(struct subject *s, const struct point *point)
{
    int n = 0;

    op_sweep(s, point->op, NOMEM, look_nomem, &n);
    if (n == 0)
        skip_point("it allocates nothing of the host");
}

struct stopped {
    int n;
    bool is_failing; /* without a cancel too: then it may say why */
};

static void look_not_stopped(const struct op *op, const struct trial *t, void *arg)
{
    (void)op;
    ((struct stopped *)arg)->is_failing = t->status != 0;
}

static void look_stopped(const struct op *op, const struct trial *t, void *arg)
{
    struct stopped *stopped = arg;

    (void)op;
    stopped->n++;
    if (t->status == 0 || (t->err.code != t->fault.code && !stopped->is_failing))
        flaw("it returns %d, code %s, %s", t->status, error_name(t->err.code), fault_text(t));
    if (t->ms > 1000)
        flaw("it takes %lld ms more %s", (long long)t->ms, fault_text(t));
}

static void point_stopped(struct subject *s, const struct point *point)
{
    struct stopped stopped = {.n = 0};

    op_sweep(s, point->op, AS_IS, look_not_stopped, &stopped);
    op_sweep(s, point->op, point->aspect, look_stopped, &stopped);
    if (stopped.n == 0)
        skip_point("it never waits");
}

static void point_sizes(struct subject *s, const struct point *point)
{
    for (enum layout layout = OLDEST; layout <= FUTURE; layout++) {
        struct trial t = {.layout = layout};

        subject_renew(s);
        point->op->call(s, &t);
        if (t.status != 0 && !(point->op->flags & OP_MAY_FAIL))
            flaw("it fails with structures %s: %s", layout == OLDEST ? "of API 1.0" : "of a later API", t.err.message);
    }
}

static void look_alone(const struct op *op, const struct trial *t, void *arg)
{
    (void)op, (void)arg;
    flaw("it asked for a service, %s", fault_text(t));
}

static void point_alone(struct subject *s, const struct point *point)
{
    op_sweep(s, point->op, FAULTS, look_alone, NULL);
}

static void look_refused(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (t->status == 0)
        flaw("it succeeds");
    else if (t->err.code != op->refuses)
        flaw("it fails with code %s, not %s: %s", error_name(t->err.code), error_name(op->refuses), t->err.message);
}

static void point_refused(struct subject *s, const struct point *point)
{
    op_sweep(s, point->op, AS_IS, look_refused, NULL);
}

void op_add_points(struct checklist *list, const struct op *op)
{
    if (op->refuses != 0) {
        checklist_add_op(list, op, "refused", "it is refused with the code that the header says", point_refused, AS_IS);
        return;
    }
    checklist_add_op(list, op, "succeeds", "it succeeds in a host where all goes well", point_as_is, AS_IS);
    checklist_add_op(list, op, "nomem", "each allocation that fails in turn is NOMEM", point_nomem, NOMEM);
    if (op->flags & OP_ALONE)
        checklist_add_op(list, op, "alone", "it asks nothing of the host", point_alone, FAULTS);
    if (op->flags & OP_ALONE)
        return;
    checklist_add_op(list, op, "faults", "what fails in the host does not pass for success", point_faults, FAULTS);
    checklist_add_op(list, op, "cancel", "a cancel at each wait ends it with CANCELLED", point_stopped, CANCEL);
    checklist_add_op(list, op, "deadline", "a deadline at each wait ends it with TIMEOUT", point_stopped, DEADLINE);
    checklist_add_op(list, op, "sizes", "structures of an older and of a later core are fine", point_sizes, SIZES);
}
