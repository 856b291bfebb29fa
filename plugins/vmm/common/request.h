/* A request of core's, which may be older than this plugin. */
#ifndef VMM_COMMON_REQUEST_H
#define VMM_COMMON_REQUEST_H

#include <string.h>

#include "include/runner-plugin.h"

/* The machine in today's layout: what its core does not know of is absent. */
static inline struct runner_vm request_vm(const struct runner_vm *vm)
{
    struct runner_vm whole = {.size = 0};

    memcpy(&whole, vm, vm->size < sizeof whole ? vm->size : sizeof whole);
    whole.size = sizeof whole;
    return whole;
}

#endif
