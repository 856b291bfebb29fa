/* Inside of network/bridge: what its files share. Calls run on any thread; names.c guards what changes. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define IFNAME_SIZE 16 /* with its NUL, as the kernel's IFNAMSIZ */

extern const struct runner_host *bridge_host; /* set by load(), before any thread */

struct names; /* names.c */

struct bridge {                                  /* one instance; constant after create() but for names */
    char name[IFNAME_SIZE], uplink[IFNAME_SIZE]; /* uplink: "auto" and "none" have their meaning */
    char address[16], subnet[24];                /* "10.0.0.1", "10.0.0.0/24" */
    char mac[18];                                /* of the bridge */
    uint32_t prefix_len;
    bool has_nat, is_isolating;
    int64_t owner_uid, mtu; /* mtu 0: the default */
    struct names *names;
};

uint64_t bridge_hash(const char *text); /* FNV-1a: stable, for names only */

/* rules.c: the nftables script for both tables of this bridge, which replaces them at one stroke. ret_mark: the name of
 * an empty chain that tells this script from any other. */
void rules_script(const struct bridge *b, struct str *ret_script, char ret_mark[32]);
/* "runner_br0" */
void rules_table(const struct bridge *b, struct str *ret);

/* setup.c */
int setup_check(const struct bridge *b, struct runner_call *call, struct runner_error *err);
int setup_run(const struct bridge *b, struct runner_call *call, struct runner_error *err);
/* The interface to the outside, of what `ip -j -4 route show default` prints (NULL: nothing); "": none. */
struct json;
void setup_uplink(const struct bridge *b, const struct json *routes, char ret[IFNAME_SIZE]);

/* diagnose.c: runner_plugin.diagnose */
int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err);

/* sweep.c */
int sweep_run(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
              struct runner_error *err);

#endif
