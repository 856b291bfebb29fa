/* What a sandbox may reach, as options of create and network. */
#ifndef CTL_NETWORK_H
#define CTL_NETWORK_H

#include "core/ctl/ctl.h"

struct network_options {
    bool is_block, is_open;
    const char *allow, *domains; /* lists with commas, or NULL */
};
#define NETWORK_OPTIONS 4
/* Their specs, which write to o. */
void network_specs(struct network_options *o, struct option_spec ret[NETWORK_OPTIONS]);
/* Whether any is given. */
bool network_is_given(const struct network_options *o);
/* CTL_USAGE with a message when they contradict each other. */
int network_check(const struct ctl *ctl, const struct network_options *o);
/* Adds the members of a request: all of them, when any is given. */
void network_add(const struct network_options *o, struct str *out);

#endif
