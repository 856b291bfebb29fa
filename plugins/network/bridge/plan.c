/* A sandbox in the bridge table: who it is, and where it may go. Each change is one transaction. */
#include <arpa/inet.h>
#include <netinet/ether.h>
#include <string.h>

#include "plugins/network/bridge/nft.h"

#define NAME_SIZE (IFNAME_SIZE + 4)

struct lists_of {                                 /* the names of what is a sandbox's own */
    char out[NAME_SIZE], in[NAME_SIZE];           /* chains: where it may go */
    char out_rate[NAME_SIZE], in_rate[NAME_SIZE]; /* chains: how much */
    char cidrs[NAME_SIZE], domains[NAME_SIZE];    /* sets; the second is filled by the forwarder of names */
};

static struct lists_of names_of(const char *port)
{
    struct lists_of l;

    (void)snprintf(l.out, sizeof l.out, "c_%s", port);
    (void)snprintf(l.in, sizeof l.in, "i_%s", port);
    (void)snprintf(l.out_rate, sizeof l.out_rate, "r_%s", port);
    (void)snprintf(l.in_rate, sizeof l.in_rate, "w_%s", port);
    (void)snprintf(l.cidrs, sizeof l.cidrs, "s_%s", port);
    (void)snprintf(l.domains, sizeof l.domains, "d_%s", port);
    return l;
}

int plan_guest(const struct runner_nic *nic, const char *port, struct guest *ret, struct runner_error *err)
{
    struct ether_addr mac;
    struct in_addr address;

    if (strlen(nic->mac) != 17 || ether_aton_r(nic->mac, &mac) == NULL || (mac.ether_addr_octet[0] & 1))
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is no MAC address of a machine", nic->mac);
    if (inet_pton(AF_INET, nic->address, &address) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is no IPv4 address", nic->address);
    (void)snprintf(ret->port, sizeof ret->port, "%s", port);
    memcpy(ret->mac, mac.ether_addr_octet, sizeof ret->mac);
    ret->address = address.s_addr;
    return 0;
}

static void set_identity(struct nft *t, enum nft_change change, const struct guest *g)
{
    uint8_t key[IDENT_KEY] = {0};

    memcpy(key, g->port, strlen(g->port));
    memcpy(key + PORT_KEY, g->mac, sizeof g->mac);
    memcpy(key + OMAC_KEY, &g->address, sizeof g->address);
    nft_element(t, change, "ident", key, IDENT_KEY);
    nft_element(t, change, "omac", key, OMAC_KEY);
    nft_port(t, change, "refused", g->port);
}

static void forget_rate(struct nft *t, const char *map, const char *port, const char *chain)
{
    nft_chain(t, NFT_ADD, chain);
    nft_jump(t, NFT_CLEAR, map, port, chain);
    nft_chain_flush(t, chain);
    nft_chain(t, NFT_DELETE, chain);
}

/* 0: none. */
static void set_rate(struct nft *t, const char *map, const char *port, const char *chain, uint64_t bytes_per_s)
{
    if (bytes_per_s == 0) {
        forget_rate(t, map, port, chain);
        return;
    }
    nft_chain(t, NFT_ADD, chain);
    nft_chain_flush(t, chain);
    nft_rate(t, chain, bytes_per_s);
    nft_jump(t, NFT_ADD, map, port, chain);
}

static void forget_rates(struct nft *t, const char *port)
{
    struct lists_of l = names_of(port);

    forget_rate(t, "rates", port, l.out_rate);
    forget_rate(t, "rates_in", port, l.in_rate);
}

/* Whatever is there of them. To say that a chain is jumped to makes the kernel look through all chains of the table, and to
 * name a set, through all sets. */
static void forget_lists(struct nft *t, const char *port)
{
    struct lists_of l = names_of(port);

    nft_chain(t, NFT_ADD, l.out);
    nft_chain(t, NFT_ADD, l.in);
    nft_jump(t, NFT_CLEAR, "lists", port, l.out);
    nft_jump(t, NFT_CLEAR, "lists_in", port, l.in);
    nft_chain_flush(t, l.out);
    nft_chain_flush(t, l.in);
    nft_chain(t, NFT_DELETE, l.out);
    nft_chain(t, NFT_DELETE, l.in);
    nft_set(t, NFT_CLEAR, l.cidrs, false);
    nft_set(t, NFT_CLEAR, l.domains, true);
    nft_port(t, NFT_CLEAR, "plain", port);
}

/* That there is no set of names' addresses: else NOTFOUND. */
static void assert_plain(struct nft *t, const char *port)
{
    nft_port(t, NFT_DELETE, "plain", port);
    nft_port(t, NFT_ADD, "plain", port);
}

/* All that set_chains() made: NOTFOUND when it is not there. */
static void drop_lists(struct nft *t, const char *port, enum lists lists)
{
    struct lists_of l = names_of(port);

    nft_jump(t, NFT_DELETE, "lists", port, l.out);
    nft_jump(t, NFT_DELETE, "lists_in", port, l.in);
    nft_chain_flush(t, l.out);
    nft_chain_flush(t, l.in);
    nft_chain(t, NFT_DELETE, l.out);
    nft_chain(t, NFT_DELETE, l.in);
    nft_set(t, NFT_DELETE, l.cidrs, false);
    if (lists == LISTS_NAMES)
        nft_set(t, NFT_DELETE, l.domains, true);
    else
        nft_port(t, NFT_DELETE, "plain", port);
}

void plan_forget(struct nft *t, const char *port)
{
    forget_lists(t, port);
    forget_rates(t, port);
}

/* An element that is added and then deleted, so that it is absent whatever was there, is there for a moment while the
 * kernel carries the transaction out, one message after the other. So who is a member is in two sets, of which the rules
 * look at the second one first: when a packet finds it there, the moment of the first is over. */
static void set_member(struct nft *t, bool is_member, const char *first, const char *second, const char *port)
{
    enum nft_change change = is_member ? NFT_ADD : NFT_CLEAR;

    nft_port(t, change, first, port);
    nft_port(t, change, second, port);
}

static void set_open(struct nft *t, bool is_open, const char *port)
{
    set_member(t, is_open, "open", "open_too", port);
}

static void set_limited(struct nft *t, bool is_limited, const char *port)
{
    set_member(t, is_limited, "limited", "limited_too", port);
}

/* It may speak to nobody but the host. */
static void set_closed(struct nft *t, const struct guest *g)
{
    set_open(t, false, g->port);
    set_limited(t, false, g->port);
}

int plan_identity(const struct bridge *b, struct runner_batch *batch, const struct guest *g, struct runner_error *err)
{
    struct nft t, undo;

    nft_begin(&t, b);
    set_identity(&t, NFT_ADD, g);
    nft_begin(&undo, b);
    set_closed(&undo, g);
    plan_forget(&undo, g->port); /* that of apply_policy(), whose steps are behind this one */
    set_identity(&undo, NFT_CLEAR, g);
    return nft_end(&t, &undo, 0, batch, err);
}

static void remove_all(struct nft *t, const struct guest *g, bool has_rates)
{
    set_closed(t, g);
    if (has_rates)
        forget_rates(t, g->port);
    set_identity(t, NFT_CLEAR, g);
}

int plan_removal(const struct bridge *b, struct runner_batch *batch, const struct guest *g, enum lists lists,
                 bool has_rates, struct runner_error *err)
{
    const bool is_known = lists == LISTS_CIDRS || lists == LISTS_NAMES;
    struct nft t;

    if (is_known) {
        nft_begin(&t, b);
        drop_lists(&t, g->port, lists);
        remove_all(&t, g, has_rates);
        if (nft_end(&t, NULL, RUNNER_S_OPTIONAL, batch, err) < 0)
            return -1;
    }
    nft_begin(&t, b);
    if (lists != LISTS_NONE)
        forget_lists(&t, g->port);
    remove_all(&t, g, has_rates);
    return nft_end(&t, NULL, is_known ? RUNNER_S_ELSE : 0, batch, err);
}

/* ---- policy ----------------------------------------------------------------------------------------------------- */

static int read_cidrs(const struct runner_policy *policy, struct ranges *ret, struct runner_error *err)
{
    for (uint32_t i = 0; i < policy->n_cidrs; i++) {
        struct range range;

        if (!ranges_parse(policy->cidrs[i], &range)) {
            ranges_done(ret);
            return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%s' is no range of addresses", policy->cidrs[i]);
        }
        ranges_add(ret, range);
    }
    ranges_tidy(ret);
    return 0;
}

/* What a policy comes to. */
struct change {
    const struct guest *guest;
    const struct runner_policy *policy;
    struct ranges cidrs;
    bool is_blocked, is_listed, is_limited, has_rates, are_names_same;
    bool has_names; /* there is a set of names' addresses, behind it; what it was made for may be over */
};

/* Chains that say nothing but where its sets are: they stay as they are when the lists change, since the kernel looks
 * through all chains of the table when one of those that are jumped to changes. */
static void set_chains(struct nft *t, const struct lists_of *l, const struct change *c, bool is_new)
{
    const char *port = c->guest->port;

    nft_set(t, NFT_ADD, l->cidrs, false);
    if (c->has_names)
        nft_set(t, NFT_ADD, l->domains, true);
    nft_chain(t, NFT_ADD, l->out);
    nft_chain(t, NFT_ADD, l->in);
    nft_chain_flush(t, l->out);
    nft_chain_flush(t, l->in);
    nft_accept(t, l->out, false, l->cidrs);
    nft_accept(t, l->in, true, l->cidrs);
    if (c->has_names) {
        nft_accept(t, l->out, false, l->domains);
        nft_accept(t, l->in, true, l->domains);
    } else if (!is_new) {
        nft_set(t, NFT_CLEAR, l->domains, true);
    }
    nft_port(t, c->has_names ? NFT_CLEAR : NFT_ADD, "plain", port);
    nft_jump(t, NFT_ADD, "lists", port, l->out);
    nft_jump(t, NFT_ADD, "lists_in", port, l->in);
}

/* None, when it is blocked. What the names stand for begins anew when they are others: an address of a name that is no
 * longer listed must not pass. */
static void set_lists(struct nft *t, const struct change *c)
{
    struct lists_of l = names_of(c->guest->port);

    nft_set_flush(t, l.cidrs);
    if (c->has_names && (c->is_blocked || !c->are_names_same))
        nft_set_flush(t, l.domains);
    nft_ranges(t, l.cidrs, &c->cidrs);
}

/* After a start of the runner it must be right, whatever is there. */
static void set_membership(struct nft *t, const struct change *c)
{
    const struct guest *g = c->guest;

    set_identity(t, NFT_ADD, g);
    set_open(t, !c->is_blocked && !c->is_listed, g->port);
    set_limited(t, c->is_limited, g->port);
    if (c->has_rates) {
        struct lists_of l = names_of(g->port);

        set_rate(t, "rates", g->port, l.out_rate, c->policy->tx_bytes_per_s);
        set_rate(t, "rates_in", g->port, l.in_rate, c->policy->rx_bytes_per_s);
    }
}

/* Right if its chains and sets are there as set_chains() makes them; NOTFOUND if not. */
static void set_by_elements(struct nft *t, const struct change *c)
{
    if (!c->has_names)
        assert_plain(t, c->guest->port);
    set_membership(t, c);
    set_lists(t, c);
}

/* Right whatever is there. */
static void set_whole(struct nft *t, const struct change *c, enum lists lists)
{
    struct lists_of l = names_of(c->guest->port);

    set_membership(t, c);
    if (c->is_listed) {
        set_chains(t, &l, c, lists == LISTS_NONE);
        set_lists(t, c);
    } else if (c->is_blocked && lists != LISTS_NONE) {
        forget_lists(t, c->guest->port);
    }
}

static int add_change(const struct bridge *b, struct runner_batch *batch, const struct change *c, enum lists lists,
                      struct runner_error *err)
{
    const bool is_made = lists == (c->has_names ? LISTS_NAMES : LISTS_CIDRS);
    const bool is_quick = is_made && (c->is_listed || c->is_blocked); /* open comes before lists */
    struct nft t, undo;

    nft_begin(&undo, b);
    set_closed(&undo, c->guest);
    plan_forget(&undo, c->guest->port);
    nft_begin(&t, b);
    if (!is_quick) {
        set_whole(&t, c, lists);
        return nft_end(&t, &undo, 0, batch, err);
    }
    set_by_elements(&t, c);
    if (nft_end(&t, &undo, RUNNER_S_OPTIONAL, batch, err) < 0)
        return -1;
    nft_begin(&t, b);
    set_whole(&t, c, LISTS_UNKNOWN);
    return nft_end(&t, NULL, RUNNER_S_ELSE, batch, err);
}

int plan_policy(const struct bridge *b, struct runner_batch *batch, const struct guest *g,
                const struct runner_policy *policy, enum lists *lists, bool has_rates, bool are_names_same,
                struct runner_error *err)
{
    struct change c = {.guest = g, .policy = policy, .has_rates = has_rates, .are_names_same = are_names_same};
    int r;

    c.is_blocked = policy->flags & RUNNER_POLICY_BLOCK;
    c.is_listed = !c.is_blocked && (policy->flags & RUNNER_POLICY_LISTED);
    c.is_limited = !c.is_blocked && (policy->flags & RUNNER_POLICY_RESTRICTED);
    c.has_names = *lists == LISTS_NAMES || (c.is_listed && policy->n_domains > 0);
    if (c.is_listed && read_cidrs(policy, &c.cidrs, err) < 0)
        return -1;
    r = add_change(b, batch, &c, *lists, err);
    ranges_done(&c.cidrs);
    if (r >= 0 && c.is_listed)
        *lists = c.has_names ? LISTS_NAMES : LISTS_CIDRS;
    return r;
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

int plan_cut(struct runner_batch *batch, const char *address, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CONNTRACK_DEL, .path = address};

    return bridge_host->add(batch, &step, err);
}
