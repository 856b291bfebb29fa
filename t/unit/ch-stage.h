/* The stage of tests with the real Cloud Hypervisor and the toy guest (t/guest/toy.c), which counts on its console. */
#ifndef UNIT_CH_STAGE_H
#define UNIT_CH_STAGE_H

#include "t/unit/vmm-stage.h"

/* Skips the test where there is no Cloud Hypervisor, no KVM or no toy. The machine has disks and network once they are
 * added. stage_close() ends it. */
void ch_open(void);

/* A qcow2 overlay on a raw base, and a raw seed, made and given to the machine. */
void add_disks(const char *overlay, const char *base, const char *seed);
/* A request of Cloud Hypervisor's own API. */
int put(const char *action, const char *body);

long ticks(void); /* the last number on the console, -1: none */
long await_ticks(long more_than);
void nap(int64_t ms);

#endif
