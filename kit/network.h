/* Inside of the checklist of networks: what its files share. All of it in the process of one point. */
#ifndef KIT_NETWORK_H
#define KIT_NETWORK_H

#include "kit/op.h"
#include "kit/subject.h"

#define NIC_OLDEST (offsetof(struct runner_nic, guest_port) + sizeof(uint32_t))

const struct runner_network_ops *network_ops(const struct subject *s);
bool network_has(const struct subject *s, uint64_t cap);
/* A nic that is attached, with the steps run. Ends the process when that fails. */
struct runner_nic network_attach(struct subject *s, const char *id);
/* The steps of attach, as far as the batch. Ends the process when that fails. */
void network_plan_attach(struct subject *s, struct runner_batch *batch, const char *id, struct runner_nic *ret_nic);
/* As core does it, when no record says any more what the sandbox had. */
void network_detach(struct subject *s, const char *id, const struct runner_nic *nic, const char *when);

/* network-policy.c: of networks with CAP_POLICY and CAP_COUNTERS */
void network_op_apply_policy(struct subject *s, struct trial *t);
void network_op_counters(struct subject *s, struct trial *t);
bool network_has_policy(const struct plugin *plugin);
bool network_has_counters(const struct plugin *plugin);
void network_add_policy_points(struct checklist *list, const struct plugin *plugin);

#endif
