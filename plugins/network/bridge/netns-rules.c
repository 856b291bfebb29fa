/* The rules within a sandbox's network namespace, as one transaction: the guest's address is another's outside, one to one.
 * Addresses are written over in each packet, with no memory of connections: so there is no table that a guest could fill,
 * and what the bridge's rules decide stays as it is. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/icmp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "plugins/network/bridge/netns.h"

#define TABLE       "runner"
#define SCRIPT_SIZE 16384 /* there is one, of a few dozen rules' messages of some 300 bytes each */
#define ECHO_RATE   100   /* answers of the gateway a second */
#define BEFORE      (-300)
#define BEHIND      300

enum { ETH_SOURCE = 6, IP4_PROTOCOL = 9, IP4_CHECKSUM = 10, IP4_SOURCE = 12, IP4_DESTINATION = 16 }; /* offsets */
enum { ICMP_KIND = 0, ICMP_CHECKSUM = 2, ICMP_ABOUT = 8 }; /* of a message about a packet, whose head follows */

struct script {
    char data[SCRIPT_SIZE];
    size_t len;
    uint32_t n;
};

struct rule { /* that is being written */
    struct nftnl_rule *r;
    struct script *to;
};

static void *must(void *object)
{
    if (object == NULL)
        mem_die();
    return object;
}

static struct nlmsghdr *message(struct script *s, int type, int flags)
{
    return nftnl_nlmsg_build_hdr(s->data + s->len, (uint16_t)type, NFPROTO_IPV4, (uint16_t)flags, ++s->n);
}

static void keep(struct script *s, const struct nlmsghdr *head)
{
    s->len += MNL_ALIGN(head->nlmsg_len);
}

static void add_table(struct script *s)
{
    struct nftnl_table *t = must(nftnl_table_alloc());
    struct nlmsghdr *head = message(s, NFT_MSG_NEWTABLE, NLM_F_CREATE);

    nftnl_table_set_str(t, NFTNL_TABLE_NAME, TABLE);
    nftnl_table_nlmsg_build_payload(head, t);
    keep(s, head);
    nftnl_table_free(t);
}

static void add_chain(struct script *s, const char *name, uint32_t hook, int32_t priority, uint32_t policy)
{
    struct nftnl_chain *c = must(nftnl_chain_alloc());
    struct nlmsghdr *head = message(s, NFT_MSG_NEWCHAIN, NLM_F_CREATE);

    nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, TABLE);
    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
    nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
    nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, policy);
    nftnl_chain_nlmsg_build_payload(head, c);
    keep(s, head);
    nftnl_chain_free(c);
}

/* ---- a rule: what it matches, what it does ---- */

static struct rule begin(struct script *s, const char *chain)
{
    struct rule rule = {must(nftnl_rule_alloc()), s};

    nftnl_rule_set_str(rule.r, NFTNL_RULE_TABLE, TABLE);
    nftnl_rule_set_str(rule.r, NFTNL_RULE_CHAIN, chain);
    nftnl_rule_set_u32(rule.r, NFTNL_RULE_FAMILY, NFPROTO_IPV4);
    return rule;
}

static struct nftnl_expr *add(const struct rule *rule, const char *name)
{
    struct nftnl_expr *e = must(nftnl_expr_alloc(name));

    nftnl_rule_add_expr(rule->r, e);
    return e;
}

static void compare(const struct rule *rule, uint32_t op, const void *data, size_t len)
{
    struct nftnl_expr *e = add(rule, "cmp");

    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
    nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, (uint32_t)len);
}

/* key: NFT_META_IIF or NFT_META_OIF */
static void match_link(const struct rule *rule, uint32_t key, uint32_t number)
{
    struct nftnl_expr *e = add(rule, "meta");

    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &number, sizeof number);
}

static void match(const struct rule *rule, uint32_t base, uint32_t offset, uint32_t op, const void *data, size_t len)
{
    struct nftnl_expr *e = add(rule, "payload");

    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, (uint32_t)len);
    compare(rule, op, data, len);
}

static void match_address(const struct rule *rule, uint32_t offset, uint32_t op, const uint32_t *address)
{
    match(rule, NFT_PAYLOAD_NETWORK_HEADER, offset, op, address, sizeof *address);
}

static void match_icmp(const struct rule *rule)
{
    const uint8_t protocol = IPPROTO_ICMP;

    match(rule, NFT_PAYLOAD_NETWORK_HEADER, IP4_PROTOCOL, NFT_CMP_EQ, &protocol, sizeof protocol);
}

static void match_icmp_kind(const struct rule *rule, uint8_t kind)
{
    match_icmp(rule);
    match(rule, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_KIND, NFT_CMP_EQ, &kind, sizeof kind);
}

/* Writes an address over. flags: NFT_PAYLOAD_L4CSUM_PSEUDOHDR, where it is part of TCP's and UDP's checksums too. */
static void write_over(const struct rule *rule, uint32_t base, uint32_t offset, const uint32_t *address,
                       uint32_t checksum, uint32_t flags)
{
    struct nftnl_expr *load = add(rule, "immediate"), *e = add(rule, "payload");

    nftnl_expr_set_u32(load, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    nftnl_expr_set(load, NFTNL_EXPR_IMM_DATA, address, sizeof *address);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, sizeof *address);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, checksum);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_FLAGS, flags);
}

static void limit(const struct rule *rule, uint64_t a_second)
{
    struct nftnl_expr *e = add(rule, "limit");

    nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, a_second);
    nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, 5);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
}

static void finish(const struct rule *rule)
{
    struct nlmsghdr *head = message(rule->to, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);

    nftnl_rule_nlmsg_build_payload(head, rule->r);
    keep(rule->to, head);
    nftnl_rule_free(rule->r);
}

static void end(const struct rule *rule, uint32_t verdict)
{
    struct nftnl_expr *e = add(rule, "immediate");

    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, verdict);
    finish(rule);
}

/* ---- the rules ---- */

/* What a message of ICMP is about was sent by, or to, the guest under the other address: else it would not know of what the
 * message speaks, and the size of its packets, for one, would never adapt. */
static void translate_about(struct script *s, const char *chain, uint32_t link_key, uint32_t which,
                            const uint32_t *from, const uint32_t *to)
{
    static const uint8_t kinds[] = {ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct rule r = begin(s, chain);

        match_link(&r, link_key, RUNNER_NETNS_VETH);
        match_icmp_kind(&r, kinds[i]);
        match(&r, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_ABOUT + which, NFT_CMP_EQ, from, sizeof *from);
        write_over(&r, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_ABOUT + which, to, ICMP_CHECKSUM, 0);
        finish(&r);
    }
}

static void add_from_guest(struct script *s, const struct netns *n)
{
    struct rule r = begin(s, "pre");

    match_link(&r, NFT_META_IIF, RUNNER_NETNS_TAP);
    match(&r, NFT_PAYLOAD_LL_HEADER, ETH_SOURCE, NFT_CMP_NEQ, n->guest_mac, sizeof n->guest_mac);
    end(&r, NF_DROP);
    r = begin(s, "pre");
    match_link(&r, NFT_META_IIF, RUNNER_NETNS_TAP);
    match_address(&r, IP4_SOURCE, NFT_CMP_EQ, &n->guest_address);
    end(&r, NF_ACCEPT);

    r = begin(s, "forward");
    match_link(&r, NFT_META_IIF, RUNNER_NETNS_TAP);
    match_link(&r, NFT_META_OIF, RUNNER_NETNS_VETH);
    end(&r, NF_ACCEPT);

    translate_about(s, "post", NFT_META_OIF, IP4_DESTINATION, &n->guest_address, &n->address);
    r = begin(s, "post");
    match_link(&r, NFT_META_OIF, RUNNER_NETNS_VETH);
    write_over(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_SOURCE, &n->address, IP4_CHECKSUM, NFT_PAYLOAD_L4CSUM_PSEUDOHDR);
    finish(&r);
}

static void add_to_guest(struct script *s, const struct netns *n)
{
    struct rule r = begin(s, "pre");

    match_link(&r, NFT_META_IIF, RUNNER_NETNS_VETH);
    match_address(&r, IP4_DESTINATION, NFT_CMP_NEQ, &n->address);
    end(&r, NF_DROP);
    translate_about(s, "pre", NFT_META_IIF, IP4_SOURCE, &n->address, &n->guest_address);
    r = begin(s, "pre");
    match_link(&r, NFT_META_IIF, RUNNER_NETNS_VETH);
    write_over(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_DESTINATION, &n->guest_address, IP4_CHECKSUM,
               NFT_PAYLOAD_L4CSUM_PSEUDOHDR);
    end(&r, NF_ACCEPT);

    r = begin(s, "forward");
    match_link(&r, NFT_META_IIF, RUNNER_NETNS_VETH);
    match_link(&r, NFT_META_OIF, RUNNER_NETNS_TAP);
    end(&r, NF_ACCEPT);
}

/* The gateway answers a ping, and says what is wrong with a packet. */
static void add_gateway(struct script *s, const struct netns *n)
{
    struct rule r = begin(s, "input");

    match_link(&r, NFT_META_IIF, RUNNER_NETNS_TAP);
    match_address(&r, IP4_DESTINATION, NFT_CMP_EQ, &n->guest_gateway);
    match_icmp_kind(&r, ICMP_ECHO);
    limit(&r, ECHO_RATE);
    end(&r, NF_ACCEPT);
    r = begin(s, "output");
    match_link(&r, NFT_META_OIF, RUNNER_NETNS_TAP);
    match_icmp(&r);
    end(&r, NF_ACCEPT);
}

void netns_rules(const struct netns *n, struct str *ret)
{
    struct script s = {.len = 0};
    struct nlmsghdr *head;

    head = nftnl_batch_begin(s.data, ++s.n);
    keep(&s, head);
    add_table(&s);
    add_chain(&s, "pre", NF_INET_PRE_ROUTING, BEFORE, NF_DROP);
    add_chain(&s, "input", NF_INET_LOCAL_IN, 0, NF_DROP);
    add_chain(&s, "forward", NF_INET_FORWARD, 0, NF_DROP);
    add_chain(&s, "output", NF_INET_LOCAL_OUT, 0, NF_DROP);
    add_chain(&s, "post", NF_INET_POST_ROUTING, BEHIND, NF_ACCEPT);
    add_from_guest(&s, n);
    add_to_guest(&s, n);
    add_gateway(&s, n);
    head = nftnl_batch_end(s.data + s.len, ++s.n);
    keep(&s, head);
    str_add_mem(ret, s.data, s.len);
}
