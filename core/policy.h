/*
 * What a sandbox may reach (contract 8.1): the policy that its record keeps, and what a message changes of it. Pure; no
 * function blocks.
 */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdbool.h>

#include "core/util/json.h"
#include "include/runner-plugin.h"

#define POLICY_ITEMS_MAX 10 /* of each list */

struct policy {         /* all zero: the outside, as far as the network's own settings let any */
    bool is_blocked;    /* nothing at all, whatever the lists say */
    bool is_restricted; /* of an organization whose egress is limited */
    /* Canonical lists, joined by ','; NULL: none. If either is there, only what they name. */
    char *cidrs;   /* IPv4 networks, the host part 0, sorted, none within another */
    char *domains; /* names in lower case, sorted; "*.": all below it */
};
void policy_done(struct policy *policy);
void policy_copy(const struct policy *from, struct policy *ret);
/* The capabilities (RUNNER_NETWORK_CAP_*) that a network must have to keep it; is_restricted does not count. */
uint64_t policy_needs(const struct policy *policy);

/* What a message says: each part is left alone unless has_ says otherwise. */
struct policy_change {
    bool has_blocked, has_restricted, has_cidrs, has_domains;
    struct policy to;
};
void policy_change_done(struct policy_change *change);
/* body: UpdateNetworkSettingsDTO, or a create, which has the same members: networkBlockAll, networkAllowList,
 * domainAllowList, networkLimitEgress; absent and null are the same. With networkBlockAll it takes the place of all that
 * was; without, a list that is given (even an empty one) takes that of the old one and ends a block, but an empty list of
 * domains does not. INVALID: *ret_field names the member, err says why. */
int policy_change_read(const struct json *body, struct policy_change *ret, const char **ret_field,
                       struct runner_error *err);
/* metadata of a create or a start: limitNetworkEgress ("true" or "false"), domainAllowList; empty texts say nothing, and
 * neither ends a block. NULL and null: nothing. INVALID: err names the member. */
int policy_change_read_metadata(const struct json *metadata, struct policy_change *ret, struct runner_error *err);
void policy_change_apply(const struct policy_change *change, struct policy *policy);

/* For the record: a member "policy", none of an empty one; and from there: absent (NULL) is an empty one. INVALID names
 * what is wrong. *ret is to be done with then, too. */
void policy_print(const struct policy *policy, struct str *out);
int policy_parse(const struct json *from, struct policy *ret, struct runner_error *err);

/* As plugins see it; points into itself: not to be copied. */
struct policy_view {
    struct runner_policy policy;
    char *cidr_text, *domain_text;
    const char *cidrs[POLICY_ITEMS_MAX], *domains[POLICY_ITEMS_MAX];
};
/* caps: of the network. Where it knows no domains they are left out, and the rest stays closed. */
void policy_view_init(struct policy_view *view, const struct policy *policy, uint64_t caps);
void policy_view_done(struct policy_view *view);

#endif
