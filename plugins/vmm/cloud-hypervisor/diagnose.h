/* What works of Cloud Hypervisor on a host, for runner-ch doctor. */
#ifndef CH_DIAGNOSE_H
#define CH_DIAGNOSE_H

#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

/* runner_plugin.diagnose. Blocks as long as check_try(). */
int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err);

#endif
