/* Operations of a plugin, called under one fault at a time. */
#ifndef KIT_OP_H
#define KIT_OP_H

#include "kit/fake/host.h"
#include "kit/point.h"

struct fault {
    unsigned sites; /* 1 << FAKE_*; 0: none */
    int nth;        /* the first that fails, of these, from 0 */
    int code;
    bool is_lasting; /* and all behind it */
};

/* How large the structures are that the operation is given. */
enum layout { TODAY, OLDEST, FUTURE };

struct trial { /* one call of an operation */
    struct fault fault;
    enum layout layout;
    struct runner_error err;
    int status;  /* what it returned */
    int n_hits;  /* how often it met the fault */
    int n_asked; /* how often it asked for one of the sites */
    int64_t ms;  /* how long it took */
};

enum { /* op.flags */
    OP_MAY_FAIL = 1, /* in a host that is not real */
    OP_ALONE = 2,    /* has no business with the host */
    OP_TELLS = 4     /* what fails in the host is what it is to say, and not a failure of its own */
};

struct op {
    const char *name;
    unsigned flags;
    int refuses; /* 0, or the RUNNER_E_* that the call is to fail with */
    /* Prepares, calls the operation once between trial_begin and trial_end, and takes back what it made. */
    void (*call)(struct subject *s, struct trial *t);
    /* Whether the plugin has it; NULL: always. */
    bool (*is_there)(const struct plugin *plugin);
};

struct kind {
    const struct op *ops;
    size_t n_ops;
    void (*add_points)(struct checklist *list, const struct plugin *plugin); /* those of the kind alone */
};
const struct kind *kind_of(uint32_t kind);
/* NULL plugin: of any. */
bool op_is_there(const struct op *op, const struct plugin *plugin);

void trial_begin(struct trial *t);
void trial_end(struct trial *t, int status);
#define TRY(t, call) (trial_begin(t), trial_end((t), (call)))

/* Calls op on a new instance under each fault of the aspect in turn; look is told of each trial that met it (of each
 * trial, where there is none). */
typedef void look_fn(const struct op *op, const struct trial *t, void *arg);
void op_sweep(struct subject *s, const struct op *op, enum aspect aspect, look_fn *look, void *arg);
/* Behind the last aspect in which it is called. */
enum aspect op_aspects(const struct op *op);
/* Every operation in every way but for those that are fatal, see point_is_fatal(). */
void op_sweep_all(struct subject *s, look_fn *look, void *arg);

/* The points that each operation has. */
void op_add_points(struct checklist *list, const struct op *op);

/* What is wrong with an error, or NULL. */
const char *error_code_fault(const struct runner_error *err);
const char *error_message_fault(const struct runner_error *err);
const char *fault_text(const struct trial *t); /* "IO at the 2nd step"; until the next call */

#endif
