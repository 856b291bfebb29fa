/*
 * The stage of tests of network/bridge: the plugin loaded by a fake host, its instances, and one nic of a guest.
 * What fails here fails the test.
 */
#ifndef UNIT_NETWORK_STAGE_H
#define UNIT_NETWORK_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/util/error.h"
#include "kit/fake/host.h"

const struct runner_plugin *runner_plugin_1(void); /* the plugin that the test is linked with */

extern struct runner_error err;
extern const struct runner_network_ops *ops;

/* A TestSuite's .init. */
void stage_open(void);

/* An instance, one of its settings changed (name NULL: none): 0, or -1 with err. The test destroys it. */
int create(const char *name, const char *text, int64_t number, void **ret_self);
/* With none changed, and its sweep over: idle TAPs are taken. */
void *make(void);

/* What ipam says of a guest: 02:00:00:00:00:07, 10.0.0.7/24. */
struct runner_nic make_nic(void);
#define SET(member, text) (void)snprintf(member, sizeof(member), "%s", text)

/* The steps of one attach or detach, freed by the caller. */
char *plan(void *self, bool is_attach, const char *id, struct runner_nic *nic);
/* The steps for TAPs: what is said to netfilter beside them is for packets to show. */
void expect_plan(void *self, bool is_attach, const char *id, struct runner_nic *nic, const char *want);
/* Of apply_policy() for the guest "a" on tap-a, freed by the caller; NULL with err. */
char *plan_policy_of(void *self, const struct runner_policy *policy);
void release(void *self, const char *id);

/* What steps say of its port, and of an idle TAP that becomes one. */
#define PORT          " port=02:00:00:00:00:07,10.0.0.7"
#define PORT_IN_GROUP PORT ",group:726f7b9f"
#define ADD_IDLE(name)                                                                                                 \
    "TAP_ADD " name " -> br0 owner=64055" PORT_IN_GROUP " +isolated +idle undo: TAP_DEL " name                         \
    " -> br0 idle=" name PORT_IN_GROUP "\n"

#endif
