/* For `runner-ch doctor`: what is looked at, and how it is said. Inside of diagnose*.c. */
#ifndef DIAGNOSE_H
#define DIAGNOSE_H

#include "core/util/finding.h"
#include "core/util/json.h"
#include "plugins/network/bridge/bridge.h"

struct look {
    const struct bridge *b;
    struct runner_call *call;
    struct finding_sink to;
};

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

/* Runs a program: 0 and what it printed (the caller frees; ret_out may be NULL), or -1. */
int look_run(const struct look *look, const char *const *argv, const char *input, char **ret_out,
             struct runner_error *err);
#define RUN(look, input, ret_out, err, ...)                                                                            \
    look_run(look, (const char *const[]){__VA_ARGS__, NULL}, input, ret_out, err)
/* The command for a failure of a program: it is not there, may not, or the kernel lacks a module. */
const char *look_fix(const struct runner_error *err, const char *package, const char *module);

/* diagnose-ports.c: whether TAPs can be ports of a bridge, and what a port holds back; by frames. */
void look_at_ports(const struct look *look);
/* Whether packets can wait, for limits of bandwidth. */
void look_at_limits(const struct look *look);

/* diagnose-rules.c: whether the kernel takes the rules. */
bool look_at_rules(const struct look *look);
/* Whether somebody else's rules drop what guests send to the outside. */
void look_at_others(const struct look *look);

#endif
