/*
 * An instance of a plugin: what create() made for one host, with the gate that keeps the plugin's thread class by letting
 * callers through one at a time where it asks for that. Where a host has several of one kind (vmm), they are candidates:
 * a list in order of preference.
 */
#ifndef CORE_INSTANCE_H
#define CORE_INSTANCE_H

#include <stdbool.h>

#include "core/config.h"

struct gate;

struct instance {
    const struct plugin *plugin;
    const struct config_section *section;
    void *self;
    struct gate *gate;     /* NULL: RUNNER_PARALLEL */
    struct instance *next; /* the next candidate */

    /* Guarded by the host's mutex. */
    bool is_checked;
    char *problem; /* of the last check; NULL: fine */
    bool is_doubtful; /* that one failed, and the one before it did not, of which problem still is */
    char *text;    /* vmm: what it says of itself, once known */
};

/* Those of a section and of its alternatives; *ret is NULL when there is none. Touches no host. */
int instances_new(const struct config_section *section, struct instance **ret, struct runner_error *err);
void instances_free(struct instance *instance); /* takes NULL */

/* Around any call of an operation: INSTANCE_CALL below does it. */
void instance_enter(struct instance *instance);
void instance_leave(struct instance *instance);

/* Runs check(), if the plugin has one. Blocks. */
int instance_check(struct instance *instance, struct runner_call *call, struct runner_error *err);

/* An int-returning operation: INSTANCE_CALL(vmm, vmm, boot, call, ...). */
#define INSTANCE_CALL(on, member, op, ...)                                                                             \
    __extension__({                                                                                                    \
        struct instance *instance_ = (on);                                                                             \
        int status_;                                                                                                   \
        instance_enter(instance_);                                                                                     \
        status_ = instance_->plugin->ops.member.op(instance_->self, __VA_ARGS__);                                      \
        instance_leave(instance_);                                                                                     \
        status_;                                                                                                       \
    })

#endif
