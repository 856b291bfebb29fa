/* A sandbox in the bridge table: who it is, and where it may go. Each change is one transaction. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/ether.h>
#include <string.h>

#include "plugins/network/bridge/nft.h"

#define NAME_SIZE (IFNAME_SIZE + 4)

struct lists {                                    /* the names of what is a sandbox's own */
    char out[NAME_SIZE], in[NAME_SIZE];           /* chains: where it may go */
    char out_rate[NAME_SIZE], in_rate[NAME_SIZE]; /* chains: how much */
    char cidrs[NAME_SIZE], domains[NAME_SIZE];    /* sets; the second is filled by the forwarder of names */
};

static struct lists lists_of(const char *port)
{
    struct lists l;

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
    struct lists l = lists_of(port);

    forget_rate(t, "rates", port, l.out_rate);
    forget_rate(t, "rates_in", port, l.in_rate);
}

static void forget_lists(struct nft *t, const char *port)
{
    struct lists l = lists_of(port);

    nft_chain(t, NFT_ADD, l.out);
    nft_chain(t, NFT_ADD, l.in);
    nft_goto(t, NFT_CLEAR, "lists", port, l.out);
    nft_goto(t, NFT_CLEAR, "lists_in", port, l.in);
    nft_chain_flush(t, l.out);
    nft_chain_flush(t, l.in);
    nft_chain(t, NFT_DELETE, l.out);
    nft_chain(t, NFT_DELETE, l.in);
    nft_set(t, NFT_CLEAR, l.cidrs, false);
    nft_set(t, NFT_CLEAR, l.domains, true);
}

void plan_forget(struct nft *t, const char *port)
{
    forget_lists(t, port);
    forget_rates(t, port);
}

static void set_nothing(struct nft *t, const struct guest *g, bool has_lists)
{
    nft_port(t, NFT_CLEAR, "open", g->port);
    nft_port(t, NFT_CLEAR, "limited", g->port);
    if (has_lists)
        plan_forget(t, g->port);
}

int plan_identity(const struct bridge *b, struct runner_batch *batch, const struct guest *g, struct runner_error *err)
{
    struct nft t, undo;

    nft_begin(&t, b);
    set_identity(&t, NFT_ADD, g);
    nft_begin(&undo, b);
    set_nothing(&undo, g, true); /* that of apply_policy(), whose steps are behind this one */
    set_identity(&undo, NFT_CLEAR, g);
    return nft_end(&t, &undo, batch, err);
}

int plan_removal(const struct bridge *b, struct runner_batch *batch, const struct guest *g, bool has_lists,
                 struct runner_error *err)
{
    struct nft t;

    nft_begin(&t, b);
    set_nothing(&t, g, has_lists);
    set_identity(&t, NFT_CLEAR, g);
    return nft_end(&t, NULL, batch, err);
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

static void set_chain(struct nft *t, const struct lists *l, bool is_in, bool is_limited)
{
    const char *chain = is_in ? l->in : l->out;

    nft_chain(t, NFT_ADD, chain);
    nft_chain_flush(t, chain);
    if (is_limited)
        nft_rule(t, chain, is_in, NULL, NFT_TO_JUMP, is_in ? "limits_in" : "limits");
    nft_rule(t, chain, is_in, l->cidrs, NFT_TO_ACCEPT, NULL);
    nft_rule(t, chain, is_in, l->domains, NFT_TO_ACCEPT, NULL);
    if (!is_in)
        nft_rule(t, chain, is_in, NULL, NFT_TO_GOTO, "refuse");
    else
        nft_rule(t, chain, is_in, NULL, NFT_TO_GOTO, "refuse_in");
}

/* What the names stand for begins anew when they are others: an address of a name that is no longer listed must not pass. */
static void set_lists(struct nft *t, const struct guest *g, const struct ranges *cidrs, bool is_limited,
                      bool are_names_same)
{
    struct lists l = lists_of(g->port);

    nft_set(t, NFT_ADD, l.cidrs, false);
    nft_set(t, NFT_ADD, l.domains, true);
    nft_set_flush(t, l.cidrs);
    if (!are_names_same)
        nft_set_flush(t, l.domains);
    for (size_t i = 0; i < cidrs->n; i++)
        nft_range(t, l.cidrs, cidrs->list[i]);
    set_chain(t, &l, false, is_limited);
    set_chain(t, &l, true, is_limited);
    nft_goto(t, NFT_ADD, "lists", g->port, l.out);
    nft_goto(t, NFT_ADD, "lists_in", g->port, l.in);
    nft_port(t, NFT_CLEAR, "open", g->port);
    nft_port(t, NFT_CLEAR, "limited", g->port);
}

int plan_policy(const struct bridge *b, struct runner_batch *batch, const struct guest *g,
                const struct runner_policy *policy, bool has_lists, bool has_rates, bool are_names_same,
                struct runner_error *err)
{
    uint32_t flags = policy->flags;
    bool is_blocked = flags & RUNNER_POLICY_BLOCK, is_listed = !is_blocked && (flags & RUNNER_POLICY_LISTED);
    bool is_limited = !is_blocked && (flags & RUNNER_POLICY_RESTRICTED);
    struct ranges cidrs = {NULL, 0};
    struct nft t, undo;

    if (is_listed && read_cidrs(policy, &cidrs, err) < 0)
        return -1;
    nft_begin(&t, b);
    set_identity(&t, NFT_ADD, g); /* after a start of the runner it must be right, whatever is there */
    if (is_listed) {
        set_lists(&t, g, &cidrs, is_limited, are_names_same);
    } else {
        bool is_open = !is_blocked && !is_limited;

        nft_port(&t, is_open ? NFT_ADD : NFT_CLEAR, "open", g->port);
        nft_port(&t, is_limited ? NFT_ADD : NFT_CLEAR, "limited", g->port);
        if (has_lists || !is_open) /* open comes before them */
            forget_lists(&t, g->port);
    }
    if (has_rates) {
        struct lists l = lists_of(g->port);

        set_rate(&t, "rates", g->port, l.out_rate, policy->tx_bytes_per_s);
        set_rate(&t, "rates_in", g->port, l.in_rate, policy->rx_bytes_per_s);
    }
    ranges_done(&cidrs);
    nft_begin(&undo, b);
    set_nothing(&undo, g, true);
    return nft_end(&t, &undo, batch, err);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

int plan_cut(struct runner_batch *batch, uint32_t address, struct runner_error *err)
{
    char buffer[256] = {0};
    struct nlmsghdr *head = mnl_nlmsg_put_header(buffer);
    struct nfgenmsg *about;
    struct nlattr *outer, *inner;
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_NETLINK,
                               .flags = RUNNER_S_OPTIONAL,
                               .number = NETLINK_NETFILTER,
                               .data = buffer};

    head->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    about = mnl_nlmsg_put_extra_header(head, sizeof *about);
    *about = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    outer = mnl_attr_nest_start(head, CTA_TUPLE_ORIG);
    inner = mnl_attr_nest_start(head, CTA_TUPLE_IP);
    mnl_attr_put_u32(head, CTA_IP_V4_SRC, address);
    mnl_attr_nest_end(head, inner);
    mnl_attr_nest_end(head, outer);
    outer = mnl_attr_nest_start(head, CTA_FILTER);
    mnl_attr_put_u32(head, CTA_FILTER_ORIG_FLAGS, 1); /* of the first direction the source alone is looked at */
    mnl_attr_put_u32(head, CTA_FILTER_REPLY_FLAGS, 0);
    mnl_attr_nest_end(head, outer);
    step.len = head->nlmsg_len;
    return bridge_host->add(batch, &step, err);
}
