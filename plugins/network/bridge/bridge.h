/* Inside of network/bridge: what its files share. Calls run on any thread; names.c guards what changes. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/network/bridge/ranges.h"

#define UPSTREAMS_MAX 3
#define IFNAME_SIZE   16 /* with its NUL, as the kernel's IFNAMSIZ */

extern const struct runner_host *bridge_host; /* set by load(), before any thread */

struct names; /* names.c */
/* Which chains and sets of a sandbox's own are there; the last two are as planned, and the steps may have failed. */
enum lists { LISTS_NONE, LISTS_UNKNOWN, LISTS_CIDRS, LISTS_NAMES /* the set of names' addresses too */ };

struct bridge { /* one instance; constant after create() but for names, limits, atomics */
    char name[IFNAME_SIZE], uplink[IFNAME_SIZE]; /* uplink: "auto" and "none" have their meaning */
    char address[16], subnet[24];                /* "10.0.0.1", "10.0.0.0/24" */
    char mac[18];                                /* of the bridge, when it is of our making */
    atomic_bool has_mac;                         /* that is the bridge's: said by setup(), as what follows */
    atomic_bool has_forwarder;                   /* of names: it runs */
    atomic_bool is_set_up, had_firewall;         /* had_firewall: others' rules dropped what guests send even before */
    bool has_netns;                              /* a namespace for each sandbox, in which the gateway has ... */
    char guest_gateway[16];                      /* ... this address, and the guest the next one */
    uint32_t prefix_len, guest_prefix_len;
    uint32_t group;           /* of its ports */
    struct ranges never;      /* where no guest may go, but to the host */
    struct ranges restricted; /* where one of a limited organization may go; empty: as others */
    int64_t restricted_mark;  /* of its packets; 0: none */
    bool has_nat, is_isolating;
    const char *dns_program; /* the forwarder of names, where the host has it; NULL: none is wanted */
    const char *upstreams[UPSTREAMS_MAX];
    size_t n_upstreams;
    int64_t owner_uid, mtu;                  /* mtu 0: the default */
    uint64_t rx_bytes_per_s, tx_bytes_per_s; /* of a sandbox whose policy says nothing of them; 0: no limit */
    atomic_uint limits;                      /* shaper.c: what the kernel can; 0: not known yet */
    unsigned bridges_max;                    /* how many there may be: guests that are not isolated speak on one */
    pthread_mutex_t growing;                 /* held while one more is made */
    struct names *names;
    struct cuts *cuts; /* cuts.c */
};

uint64_t bridge_hash(const char *text); /* FNV-1a: stable, for names only */

/* params.c: fills what the configuration says; ret_pool: how many idle TAPs are kept. INVALID: -1, and the ranges so far. */
#define N_PARAMS 18
extern const struct runner_param bridge_params[N_PARAMS];
int params_read(struct bridge *b, const struct runner_value *values, size_t n, size_t *ret_pool,
                struct runner_error *err);

/* rules.c: the nftables script for this bridge's table of a family, "bridge" or "inet", which replaces it at one stroke.
 * ret_mark: the name of an empty chain that tells this script from any other. A bridge table that is new knows no sandbox:
 * all are closed. */
void rules_script(const struct bridge *b, const char *family, struct str *ret_script, char ret_mark[32]);
#define RULES_BRIDGES "bridges" /* the set of the inet table that names the network's bridges */
/* "runner_br0" */
void rules_table(const struct bridge *b, struct str *ret);

/* plan.c: a sandbox's identity and policy in the bridge table, as steps. */
struct guest { /* read from a nic */
    char port[IFNAME_SIZE];
    uint8_t mac[6];
    uint32_t address; /* network order */
};
/* INVALID when it lacks something. */
int plan_guest(const struct runner_nic *nic, const char *port, struct guest *ret, struct runner_error *err);
/* It may speak and be spoken to by the host; undone, nothing of it is left. */
int plan_identity(const struct bridge *b, struct runner_batch *batch, const struct guest *g, struct runner_error *err);
/* lists: what is believed of its chains and sets; where that is wrong it costs time, and nothing else. */
int plan_removal(const struct bridge *b, struct runner_batch *batch, const struct guest *g, enum lists lists,
                 bool has_rates, struct runner_error *err);
/* are_names_same: the addresses that its domains had stay. lists: as above, and what is believed from then on. */
int plan_policy(const struct bridge *b, struct runner_batch *batch, const struct guest *g,
                const struct runner_policy *policy, enum lists *lists, bool has_rates, bool are_names_same,
                struct runner_error *err);
/* Nobody has these names any more, each perhaps with lists. */
struct nft;
void plan_forget(struct nft *t, const char *port);
/* The connections of an address are forgotten, and their ports at the uplink free. */
int plan_cut(struct runner_batch *batch, const char *address, struct runner_error *err);

/* names-allowed.c: what the forwarder of names (runner-dns) is told. Nothing, where there is none. */
int allowed_start(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                  struct runner_error *err);
/* A file beside its folder; the caller frees. */
char *allowed_path(const struct bridge *b, struct runner_call *call, const char *suffix);
int allowed_stop(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                 struct runner_error *err);
/* Before the sandbox's set changes. ret_is_same: it was told just this before. NOTSUP: domains without a forwarder. */
int allowed_tell(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                 const struct runner_nic *nic, const struct runner_policy *policy, bool *ret_is_same,
                 struct runner_error *err);
/* Behind that: what it was told and the set agree. A runner that was killed between knows by a mark that they may not. */
int allowed_told(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                 const struct runner_nic *nic, const struct runner_policy *policy, struct runner_error *err);
int allowed_forget(const struct bridge *b, struct runner_call *call, struct runner_batch *batch, const char *address,
                   struct runner_error *err);
int allowed_sweep(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                  struct runner_error *err);

/* counters.c */
int counters_read(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *nics, size_t n,
                  struct runner_nic_counters *ret, struct runner_error *err);

/* watch.c: says each thing that is no longer as setup made it, or an interface as it was made. */
typedef void watch_say_fn(void *ctx, const char *problem);
int watch_look(const struct bridge *b, struct runner_call *call, watch_say_fn *fn, void *ctx, struct runner_error *err);
/* 0 when there is nothing to say; else -1 with all of it. */
int watch_check(const struct bridge *b, struct runner_call *call, struct runner_error *err);

/* firewall.c: a chain of others that drops what guests send to the outside; chain "": none is known, perhaps since nft cannot
 * say. */
struct firewall {
    char family[16], table[128], chain[128];
};
/* Whether a chain, as `nft -j list chains` prints it, is one. */
struct json;
bool firewall_drops(const struct bridge *b, struct runner_call *call, const struct json *chain);
int firewall_find(const struct bridge *b, struct runner_call *call, struct firewall *ret, struct runner_error *err);

/* diagnose.c: runner_plugin.diagnose */
int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err);

/* reconcile.c: what no record owns goes, but for what operations that go on have reserved. */
int reconcile_rules(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                    struct runner_error *err);
int reconcile_addresses(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned,
                        size_t n, struct runner_error *err);

/* sweep.c */
struct owners { /* that have an interface, sorted by its name */
    const struct runner_nic **list;
    size_t n;
};
const struct runner_nic *owners_find(const struct owners *o, const char *name); /* NULL: nobody */
int sweep_run(struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
              struct runner_error *err);

/* rejoin.c: interfaces of guests that are on none of the bridges come back, and lose addresses that are others'. */
int rejoin_run(struct bridge *b, struct runner_call *call, const struct owners *owners, struct runner_error *err);

#endif
