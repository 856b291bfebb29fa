/*
 * Which QEMU this is, whether KVM runs a guest here, and which firmware. A /dev/kvm proves nothing, nor does a QEMU that
 * starts with it: some hosts have one on which no Linux kernel gets anywhere, in silence. So guests are tried, a tiny one
 * first and then, where there is one, the kernel that sandboxes boot; each has a time limit, and the verdict is kept.
 */
#ifndef QEMU_ACCEL_H
#define QEMU_ACCEL_H

#include "plugins/vmm/qemu/qemu.h"

/*
 * Fills self->facts, once a life unless is_again. Blocks: on the first call after the host's boot some 100 ms, and up to
 * 15 s where KVM hangs. Logs "vmm.accel". NOTFOUND: no such binary; NOTSUP: `accel: kvm` and KVM runs no guest.
 */
int accel_choose(struct qemu *self, struct runner_call *call, bool is_again, struct runner_error *err);

struct verdict {
    struct qemu_facts facts;
    char reason[400]; /* why there is no KVM */
    char kernel[512]; /* that KVM was tried with; "": only the tiny guest */
};

/* As accel_choose(), but whatever is remembered is tried anew, and `accel: kvm` without KVM is no error. */
int accel_try(struct qemu *self, struct runner_call *call, struct verdict *ret, struct runner_error *err);

/* A copy of self->facts, made known first when they are not. */
int accel_facts(struct qemu *self, struct runner_call *call, struct qemu_facts *ret, struct runner_error *err);

#endif
