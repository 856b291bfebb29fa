/* Reads what others wrote for a Cloud Hypervisor: a VmConfig, from a file or from vm.info. Nothing of it is trusted. */
#ifndef CH_VMREAD_H
#define CH_VMREAD_H

#include "core/util/json.h"
#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/* INVALID names the member that is wrong. Strings of *ret are from the host's alloc. */
int vmread_config(const struct runner_host *host, const struct json *config, struct runner_machine *ret,
                  struct runner_error *err);

/* runner_vmm_ops.read_config */
int vmread_text(void *self, const char *text, size_t len, struct runner_machine *ret, struct runner_error *err);

/* Releases the strings. */
void vmread_release(const struct runner_host *host, struct runner_machine *machine);

#endif
