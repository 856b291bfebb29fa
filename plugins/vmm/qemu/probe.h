/* Questions to a QEMU: its version, and guests that it is tried with. Each blocks for as long as one process runs. */
#ifndef QEMU_PROBE_H
#define QEMU_PROBE_H

#include "plugins/vmm/common/kernel.h"
#include "plugins/vmm/qemu/qemu.h"

/* Fills version, major and minor. NOTFOUND: no such binary; INVALID: another program. */
int probe_version(struct qemu *self, struct runner_call *call, struct qemu_facts *facts, struct runner_error *err);
/* "QEMU emulator version 7.2.22 (Debian ...)": true when it is such a line. */
bool probe_parse_version(const char *text, struct qemu_facts *ret);

/* Runs the tiny guest on what facts says (accelerator, firmware, machine): 0 when it said its word and ended. It lies in
 * dir meanwhile. */
int probe_tiny(struct qemu *self, struct runner_call *call, const char *dir, const struct qemu_facts *facts,
               struct runner_error *err);
/* The same with the kernel that sandboxes boot. */
int probe_kernel(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                 const struct kernel *kernel, struct runner_error *err);

/* Whether a user without privileges, though in the group of /dev/kvm, may not open it. */
bool probe_is_kvm_roots(struct qemu *self, struct runner_call *call);

#endif
