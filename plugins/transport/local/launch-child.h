/* From the fork to the exec of a child that has our memory, while we go on: launch.c starts it, launch-child.c is it. */
#ifndef LAUNCH_CHILD_H
#define LAUNCH_CHILD_H

#include <stdatomic.h>

#include "plugins/transport/local/launch.h"

#define LAUNCH_STACK 16384 /* bytes; the child takes one */

/* How far a child is. Who waits for more waits at that word (futex); it may be woken for another, and then wakes all. */
enum {
    CHILD_IS_DONE = 0,    /* it runs its program, or has ended: the kernel says so */
    CHILD_IS_APART = 1,   /* it has no copies of descriptors that it does not need */
    CHILD_HAS_COPIES = 2, /* at first */
};

extern uint64_t launch_ignored; /* signals, by bits (1: SIGHUP) */

struct launching {
    struct launching *next; /* launch.c */
    const struct launch *l;
    pid_t parent, pid;
    int pidfd; /* or a negative errno */
    atomic_int progress;
    bool is_born_in_cgroup;
    bool is_cloned; /* by clone3(): without handlers of signals, and with our table of descriptors at first */
    /* Written by the child. */
    bool has_entered_cgroup;
    int sys_errno;    /* of what failed */
    const char *what; /* NULL: nothing failed */
    char stack[LAUNCH_STACK] __attribute__((aligned(16)));
};

/* Makes a process of what is to be one, and does not return. Only system calls, on a stack of its own or the parent's. */
void launch_child(struct launching *way) __attribute__((noreturn));

#endif
