/*
 * Which Cloud Hypervisor this is, whether KVM runs a guest for it, and what confines it. A /dev/kvm proves nothing:
 * some hosts have one on which no Linux kernel gets anywhere, in silence. So guests are tried, a tiny one first and
 * then, where there is one, the kernel that sandboxes boot; each has a time limit, and the verdict is kept.
 */
#ifndef CH_CHECK_H
#define CH_CHECK_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/*
 * Fills self->facts, once a life unless is_again. Blocks: on the first call after the host's boot some 100 ms, and up
 * to 15 s where KVM hangs. Logs "vmm.accel". NOTFOUND: no such binary; INVALID: another program, or one that is too
 * old; NOTSUP: KVM runs no guest, or none for a user without privileges, or what the configuration insists on is
 * missing.
 */
int check_choose(struct ch *self, struct runner_call *call, bool is_again, struct runner_error *err);

struct verdict {
    struct ch_facts facts;
    bool has_kvm;
    bool was_slow;      /* to be found out: no guest came in time */
    char reason[400];   /* why there is no KVM */
    char unlocked[200]; /* why there is no landlock */
    char kernel[512];   /* that KVM was tried with; "": only the tiny guest, or none */
};

/* What was found out by trying anew, whatever is remembered; which KVM or landlock there is not is no error. */
int check_try(struct ch *self, struct runner_call *call, struct verdict *ret, struct runner_error *err);

/* A copy of self->facts, made known first when they are not. */
int check_facts(struct ch *self, struct runner_call *call, struct ch_facts *ret, struct runner_error *err);

/* Landlock turned out not to work here: without it from now on, and a warning. */
void check_no_landlock(struct ch *self, struct runner_call *call, const char *reason);

/* "cloud-hypervisor v53.0": true when it is such a line. */
bool check_parse_version(const char *text, struct ch_facts *ret);

#endif
