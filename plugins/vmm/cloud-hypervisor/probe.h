/* Questions to a Cloud Hypervisor and its host: its version, guests that it is tried with. Each blocks for as long as
 * the programs run. */
#ifndef CH_PROBE_H
#define CH_PROBE_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"
#include "plugins/vmm/common/kernel.h"

/* Whom the tiny guest is tried as. */
struct probe_user {
    bool is_other; /* than the transport's: that is root, and may start programs as others */
    unsigned uid;
    unsigned kvm_gid; /* the group of /dev/kvm; 0: it is root's */
};

/* Its version into facts, and *ret_user. NOTFOUND: no such binary; INVALID: another program. */
int probe_program(struct ch *self, struct runner_call *call, struct ch_facts *facts, struct probe_user *ret_user,
                  struct runner_error *err);

/* Whether this kernel has what Cloud Hypervisor's rules need, by its version and its own word; else *reason says
 * why. */
bool probe_landlock(struct ch *self, struct runner_call *call, char *reason, size_t size);

/* Runs the tiny guest: 0 when it said its word and ended. user NULL: as the transport's. TIMEOUT: it does not end. */
int probe_tiny(struct ch *self, struct runner_call *call, const struct probe_user *user, bool has_landlock,
               struct runner_error *err);
/* The same with the kernel that sandboxes boot, as the transport's user. */
int probe_kernel(struct ch *self, struct runner_call *call, const struct kernel *kernel, struct runner_error *err);

#endif
