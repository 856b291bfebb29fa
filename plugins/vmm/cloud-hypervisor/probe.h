/* Questions to a Cloud Hypervisor and its host: its version, guests that it is tried with. Each blocks for as long as
 * the programs run. */
#ifndef CH_PROBE_H
#define CH_PROBE_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"
#include "plugins/vmm/common/kernel.h"

/* Its version into facts. NOTFOUND: no such binary; INVALID: another program. */
int probe_version(struct ch *self, struct runner_call *call, struct ch_facts *facts, struct runner_error *err);

/* Whether this kernel has what Cloud Hypervisor's rules need, by its version and its own word; else *reason says
 * why. */
bool probe_landlock(struct ch *self, struct runner_call *call, char *reason, size_t size);

/* Runs the tiny guest: 0 when it said its word and ended. uid: the user that it runs as, with the group of /dev/kvm and
 * nothing else, if the transport can do that; 0: the transport's. TIMEOUT: it does not end. */
int probe_tiny(struct ch *self, struct runner_call *call, uint32_t uid, bool has_landlock, struct runner_error *err);
/* The same with the kernel that sandboxes boot, as the transport's user. */
int probe_kernel(struct ch *self, struct runner_call *call, const struct kernel *kernel, struct runner_error *err);

#endif
