#include "plugins/network/bridge/nft.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define MESSAGE_MAX    2048 /* names are short, and a message says one thing, or so many ranges */
#define RANGES_AT_ONCE 32   /* of 48 bytes at most each */
#define ADDRESSES_MAX                                                                                                  \
    4096                 /* of the names of a sandbox: who owns a name in its list can make them as many as there are */
#define TYPE_IPV4      7 /* nft's number of the type of keys, by which it lists them */
#define IP_SOURCE      12
#define IP_DESTINATION 16

/* libnftnl gives NULL when there is no memory, as nothing else does here. */
static void *must(void *object)
{
    if (object == NULL)
        mem_die();
    return object;
}

/* ---- messages ---- */

static struct nlmsghdr *message(char buffer[MESSAGE_MAX], struct nft *t, int type, int flags)
{
    memset(buffer, 0, MESSAGE_MAX);
    return nftnl_nlmsg_build_hdr(buffer, (uint16_t)type, NFPROTO_BRIDGE, (uint16_t)flags, ++t->n);
}

static void keep(struct nft *t, const struct nlmsghdr *head)
{
    t->last = t->data.len;
    str_add_mem(&t->data, head, MNL_ALIGN(head->nlmsg_len)); /* of a buffer that is zeroed behind it */
}

static void add_edge(struct nft *t, int type)
{
    struct nlmsghdr head = {.nlmsg_len = MNL_ALIGN(sizeof head) + MNL_ALIGN(sizeof(struct nfgenmsg)),
                            .nlmsg_type = (uint16_t)type,
                            .nlmsg_flags = NLM_F_REQUEST,
                            .nlmsg_seq = ++t->n};
    struct nfgenmsg about = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)};

    str_add_mem(&t->data, &head, sizeof head);
    str_add_mem(&t->data, &about, sizeof about);
}

static void init(struct nft *t, const struct bridge *b)
{
    auto_str struct str table = STR_INIT;

    *t = (struct nft){.data = STR_INIT};
    rules_table(b, &table);
    (void)snprintf(t->table, sizeof t->table, "%s", str_text(&table));
}

void nft_begin(struct nft *t, const struct bridge *b)
{
    init(t, b);
    add_edge(t, NFNL_MSG_BATCH_BEGIN);
}

static void finish(struct nft *t)
{
    /* The one acknowledgement says that all of it is in force. */
    ((struct nlmsghdr *)(t->data.ptr + t->last))->nlmsg_flags |= NLM_F_ACK;
    add_edge(t, NFNL_MSG_BATCH_END);
}

void nft_done(struct nft *t)
{
    str_done(&t->data);
}

int nft_end(struct nft *t, struct nft *undo, uint32_t flags, struct runner_batch *batch, struct runner_error *err)
{
    struct runner_step back = {.size = RUNNER_STEP_INIT, .kind = RUNNER_NETLINK, .number = NETLINK_NETFILTER};
    struct runner_step step = back;
    int index;

    finish(t);
    step.flags = flags;
    step.data = t->data.ptr;
    step.len = t->data.len;
    if (undo != NULL) {
        finish(undo);
        back.data = undo->data.ptr;
        back.len = undo->data.len;
        step.undo = &back;
    }
    index = bridge_host->add(batch, &step, err);
    nft_done(t);
    if (undo != NULL)
        nft_done(undo);
    return index;
}

/* ---- elements ---- */

static struct nftnl_set *new_set(const struct nft *t, const char *set)
{
    struct nftnl_set *s = must(nftnl_set_alloc());

    nftnl_set_set_str(s, NFTNL_SET_TABLE, t->table);
    nftnl_set_set_str(s, NFTNL_SET_NAME, set);
    return s;
}

static void send_elements(struct nft *t, enum nft_change change, struct nftnl_set *s)
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head;

    if (change & NFT_ADD) {
        head = message(buffer, t, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
        nftnl_set_elems_nlmsg_build_payload(head, s);
        keep(t, head);
    }
    if (change & NFT_DELETE) {
        head = message(buffer, t, NFT_MSG_DELSETELEM, 0);
        nftnl_set_elems_nlmsg_build_payload(head, s);
        keep(t, head);
    }
    nftnl_set_free(s); /* and its elements */
}

static struct nftnl_set_elem *add_element(struct nftnl_set *s, const void *key, size_t len)
{
    struct nftnl_set_elem *e = must(nftnl_set_elem_alloc());

    nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, key, (uint32_t)len);
    nftnl_set_elem_add(s, e);
    return e;
}

void nft_element(struct nft *t, enum nft_change change, const char *set, const void *key, size_t len)
{
    struct nftnl_set *s = new_set(t, set);

    (void)add_element(s, key, len);
    send_elements(t, change, s);
}

static void port_key(char key[PORT_KEY], const char *port)
{
    memset(key, 0, PORT_KEY);
    (void)snprintf(key, PORT_KEY, "%s", port);
}

void nft_port(struct nft *t, enum nft_change change, const char *set, const char *port)
{
    char key[PORT_KEY];

    port_key(key, port);
    nft_element(t, change, set, key, sizeof key);
}

void nft_jump(struct nft *t, enum nft_change change, const char *map, const char *port, const char *chain)
{
    struct nftnl_set *s = new_set(t, map);
    struct nftnl_set_elem *e;
    char key[PORT_KEY];

    port_key(key, port);
    e = add_element(s, key, sizeof key);
    nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_VERDICT, (uint32_t)NFT_JUMP);
    nftnl_set_elem_set_str(e, NFTNL_SET_ELEM_CHAIN, chain);
    send_elements(t, change, s);
}

/* From the first address on, and from behind the last on no more. */
static void add_range(struct nftnl_set *s, const struct range *range)
{
    uint32_t first = htonl(range->first), behind = htonl(range->last + 1);

    (void)add_element(s, &first, sizeof first);
    if (range->last != UINT32_MAX)
        nftnl_set_elem_set_u32(add_element(s, &behind, sizeof behind), NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
}

/* Many in a message: for each message the kernel looks for the set among those of all sandboxes. */
void nft_ranges(struct nft *t, const char *set, const struct ranges *ranges)
{
    for (size_t i = 0; i < ranges->n;) {
        struct nftnl_set *s = new_set(t, set);

        for (size_t end = i + RANGES_AT_ONCE; i < ranges->n && i < end; i++)
            add_range(s, &ranges->list[i]);
        send_elements(t, NFT_ADD, s);
    }
}

void nft_set_flush(struct nft *t, const char *set)
{
    send_elements(t, NFT_DELETE, new_set(t, set));
}

/* ---- sets, chains, rules ---- */

void nft_set(struct nft *t, enum nft_change change, const char *set, bool has_timeout)
{
    struct nftnl_set *s = new_set(t, set);
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head;

    nftnl_set_set_u32(s, NFTNL_SET_FLAGS, has_timeout ? NFT_SET_TIMEOUT : NFT_SET_INTERVAL);
    nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, TYPE_IPV4);
    nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, sizeof(uint32_t));
    nftnl_set_set_u32(s, NFTNL_SET_ID, ++t->n_sets);
    if (has_timeout)
        nftnl_set_set_u32(s, NFTNL_SET_DESC_SIZE, ADDRESSES_MAX);
    if (change & NFT_ADD) {
        head = message(buffer, t, NFT_MSG_NEWSET, NLM_F_CREATE);
        nftnl_set_nlmsg_build_payload(head, s);
        keep(t, head);
    }
    nftnl_set_free(s);
    if (!(change & NFT_DELETE))
        return;
    s = new_set(t, set);
    head = message(buffer, t, NFT_MSG_DELSET, 0);
    nftnl_set_nlmsg_build_payload(head, s);
    keep(t, head);
    nftnl_set_free(s);
}

static void send_chain(struct nft *t, int type, int flags, const char *chain)
{
    struct nftnl_chain *c = must(nftnl_chain_alloc());
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = message(buffer, t, type, flags);

    nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, t->table);
    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain);
    nftnl_chain_nlmsg_build_payload(head, c);
    keep(t, head);
    nftnl_chain_free(c);
}

void nft_chain(struct nft *t, enum nft_change change, const char *chain)
{
    if (change & NFT_ADD)
        send_chain(t, NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain);
    if (change & NFT_DELETE)
        send_chain(t, NFT_MSG_DELCHAIN, 0, chain);
}

static struct nftnl_rule *new_rule(const struct nft *t, const char *chain)
{
    struct nftnl_rule *r = must(nftnl_rule_alloc());

    nftnl_rule_set_str(r, NFTNL_RULE_TABLE, t->table);
    nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, chain);
    nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, NFPROTO_BRIDGE);
    return r;
}

static void send_rule(struct nft *t, int type, int flags, struct nftnl_rule *r)
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = message(buffer, t, type, flags);

    nftnl_rule_nlmsg_build_payload(head, r);
    keep(t, head);
    nftnl_rule_free(r);
}

void nft_chain_flush(struct nft *t, const char *chain)
{
    send_rule(t, NFT_MSG_DELRULE, 0, new_rule(t, chain));
}

static void add_verdict(struct nftnl_rule *r, int verdict)
{
    struct nftnl_expr *end = must(nftnl_expr_alloc("immediate"));

    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
    nftnl_rule_add_expr(r, end);
}

void nft_accept(struct nft *t, const char *chain, bool is_source, const char *set)
{
    struct nftnl_rule *r = new_rule(t, chain);
    struct nftnl_expr *load = must(nftnl_expr_alloc("payload")), *look = must(nftnl_expr_alloc("lookup"));

    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_OFFSET, is_source ? IP_SOURCE : IP_DESTINATION);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_LEN, sizeof(uint32_t));
    nftnl_rule_add_expr(r, load);
    nftnl_expr_set_u32(look, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    nftnl_expr_set_str(look, NFTNL_EXPR_LOOKUP_SET, set);
    nftnl_rule_add_expr(r, look);
    add_verdict(r, NF_ACCEPT);
    send_rule(t, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, r);
}

void nft_rate(struct nft *t, const char *chain, uint64_t bytes_per_s)
{
    struct nftnl_rule *r = new_rule(t, chain);
    struct nftnl_expr *limit = must(nftnl_expr_alloc("limit"));

    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, bytes_per_s);
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, 1); /* a second */
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKT_BYTES);
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV);
    nftnl_rule_add_expr(r, limit);
    add_verdict(r, NF_DROP);
    send_rule(t, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, r);
}

/* ---- questions ---- */

void nft_ask_begin(struct nft *t, const struct bridge *b)
{
    init(t, b);
}

void nft_ask_elements(struct nft *t, const char *set)
{
    struct nftnl_set *s = new_set(t, set);
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = message(buffer, t, NFT_MSG_GETSETELEM, NLM_F_DUMP);

    nftnl_set_elems_nlmsg_build_payload(head, s);
    keep(t, head);
    nftnl_set_free(s);
}

void nft_ask_list(struct nft *t, enum nft_list what)
{
    char buffer[MESSAGE_MAX];
    struct nlmsghdr *head = message(buffer, t, what == NFT_SETS ? NFT_MSG_GETSET : NFT_MSG_GETCHAIN, NLM_F_DUMP);

    if (what == NFT_SETS)
        mnl_attr_put_strz(head, NFTA_SET_TABLE, t->table);
    keep(t, head);
}

int nft_ask_end(struct nft *t, uint32_t flags, struct runner_batch *batch, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_NETLINK,
                               .flags = flags,
                               .number = NETLINK_NETFILTER,
                               .data = t->data.ptr,
                               .len = t->data.len};
    int index = bridge_host->add(batch, &step, err);

    nft_done(t);
    return index;
}
