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

#define MESSAGE_MAX    2048 /* names are short, and a message says one thing */
#define TYPE_IPV4      7    /* nft's number of the type of keys, by which it lists them */
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

int nft_end(struct nft *t, struct nft *undo, struct runner_batch *batch, struct runner_error *err)
{
    struct runner_step back = {.size = RUNNER_STEP_INIT, .kind = RUNNER_NETLINK, .number = NETLINK_NETFILTER};
    struct runner_step step = back;
    int index;

    finish(t);
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

static void set_verdict(struct nft *t, enum nft_change change, const char *map, const char *port, int verdict,
                        const char *chain)
{
    struct nftnl_set *s = new_set(t, map);
    struct nftnl_set_elem *e;
    char key[PORT_KEY];

    port_key(key, port);
    e = add_element(s, key, sizeof key);
    nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_VERDICT, (uint32_t)verdict);
    nftnl_set_elem_set_str(e, NFTNL_SET_ELEM_CHAIN, chain);
    send_elements(t, change, s);
}

void nft_goto(struct nft *t, enum nft_change change, const char *map, const char *port, const char *chain)
{
    set_verdict(t, change, map, port, NFT_GOTO, chain);
}

void nft_jump(struct nft *t, enum nft_change change, const char *map, const char *port, const char *chain)
{
    set_verdict(t, change, map, port, NFT_JUMP, chain);
}

/* From the first address on, and from behind the last on no more. */
void nft_range(struct nft *t, const char *set, struct range range)
{
    struct nftnl_set *s = new_set(t, set);
    uint32_t first = htonl(range.first), behind = htonl(range.last + 1);

    (void)add_element(s, &first, sizeof first);
    if (range.last != UINT32_MAX)
        nftnl_set_elem_set_u32(add_element(s, &behind, sizeof behind), NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    send_elements(t, NFT_ADD, s);
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

static void match_address(struct nftnl_rule *r, bool is_source, const char *set)
{
    struct nftnl_expr *load = must(nftnl_expr_alloc("payload")), *look = must(nftnl_expr_alloc("lookup"));

    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_OFFSET, is_source ? IP_SOURCE : IP_DESTINATION);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_LEN, sizeof(uint32_t));
    nftnl_rule_add_expr(r, load);
    nftnl_expr_set_u32(look, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    nftnl_expr_set_str(look, NFTNL_EXPR_LOOKUP_SET, set);
    nftnl_rule_add_expr(r, look);
}

void nft_rule(struct nft *t, const char *chain, bool is_source, const char *set, enum nft_verdict verdict,
              const char *to)
{
    static const int codes[] = {[NFT_TO_ACCEPT] = NF_ACCEPT, [NFT_TO_JUMP] = NFT_JUMP, [NFT_TO_GOTO] = NFT_GOTO};
    struct nftnl_rule *r = new_rule(t, chain);
    struct nftnl_expr *end = must(nftnl_expr_alloc("immediate"));

    if (set != NULL)
        match_address(r, is_source, set);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_VERDICT, (uint32_t)codes[verdict]);
    if (to != NULL)
        nftnl_expr_set_str(end, NFTNL_EXPR_IMM_CHAIN, to);
    nftnl_rule_add_expr(r, end);
    send_rule(t, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, r);
}

void nft_rate(struct nft *t, const char *chain, uint64_t bytes_per_s)
{
    struct nftnl_rule *r = new_rule(t, chain);
    struct nftnl_expr *limit = must(nftnl_expr_alloc("limit")), *end = must(nftnl_expr_alloc("immediate"));

    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, bytes_per_s);
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, 1); /* a second */
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKT_BYTES);
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV);
    nftnl_rule_add_expr(r, limit);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_VERDICT, NF_DROP);
    nftnl_rule_add_expr(r, end);
    send_rule(t, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, r);
}

/* ---- what is there ---- */

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

int nft_ask_end(struct nft *t, struct runner_batch *batch, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_NETLINK,
                               .number = NETLINK_NETFILTER,
                               .data = t->data.ptr,
                               .len = t->data.len};
    int index = bridge_host->add(batch, &step, err);

    nft_done(t);
    return index;
}

/* The last attribute of each type, up to max; NULL: none. */
static bool read_attrs(const void *data, size_t len, const struct nlattr **ret, size_t max)
{
    const char *at = data;

    for (size_t i = 0; i <= max; i++)
        ret[i] = NULL;
    while (len >= sizeof(struct nlattr)) {
        const struct nlattr *attr = (const struct nlattr *)at;
        size_t whole = MNL_ALIGN(attr->nla_len);

        if (attr->nla_len < sizeof *attr || attr->nla_len > len)
            return false;
        if (mnl_attr_get_type(attr) <= max)
            ret[mnl_attr_get_type(attr)] = attr;
        if (whole >= len)
            break;
        at += whole;
        len -= whole;
    }
    return true;
}

static bool read_nested(const struct nlattr *outer, const struct nlattr **ret, size_t max)
{
    return outer != NULL && read_attrs(mnl_attr_get_payload(outer), mnl_attr_get_payload_len(outer), ret, max);
}

/* Its text, when that has an end. */
static const char *text_of(const struct nlattr *attr)
{
    size_t len = attr != NULL ? mnl_attr_get_payload_len(attr) : 0;

    return len > 0 && ((const char *)mnl_attr_get_payload(attr))[len - 1] == '\0' ? mnl_attr_get_payload(attr) : NULL;
}

static uint64_t number_of(const struct nlattr *attr)
{
    uint64_t number = 0;

    if (attr != NULL && mnl_attr_get_payload_len(attr) == sizeof number)
        memcpy(&number, mnl_attr_get_payload(attr), sizeof number);
    return be64toh(number);
}

static void read_counter(const struct nlattr *expr, struct nft_found *found)
{
    const struct nlattr *parts[NFTA_EXPR_MAX + 1], *counts[NFTA_COUNTER_MAX + 1];
    const char *name;

    if (!read_nested(expr, parts, NFTA_EXPR_MAX))
        return;
    name = text_of(parts[NFTA_EXPR_NAME]);
    if (name == NULL || strcmp(name, "counter") != 0 || !read_nested(parts[NFTA_EXPR_DATA], counts, NFTA_COUNTER_MAX))
        return;
    found->packets = number_of(counts[NFTA_COUNTER_PACKETS]);
    found->bytes = number_of(counts[NFTA_COUNTER_BYTES]);
}

static void each_element(const struct nlattr *elements, const char *set, nft_found_fn *fn, void *ctx)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, elements)
    {
        const struct nlattr *parts[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1];
        struct nft_found found = {.set = set};

        if (!read_nested(attr, parts, NFTA_SET_ELEM_MAX) ||
            !read_nested(parts[NFTA_SET_ELEM_KEY], key, NFTA_DATA_MAX) || key[NFTA_DATA_VALUE] == NULL)
            continue;
        found.key = mnl_attr_get_payload(key[NFTA_DATA_VALUE]);
        found.len = mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]);
        read_counter(parts[NFTA_SET_ELEM_EXPR], &found);
        fn(ctx, &found);
    }
}

static void each_in(const struct nlmsghdr *head, const char *table, nft_found_fn *fn, void *ctx)
{
    const struct nlattr *parts[NFTA_SET_ELEM_LIST_MAX + 8];
    const size_t skip = MNL_ALIGN(sizeof(struct nfgenmsg));
    struct nft_found found = {.set = NULL};
    const char *of, *name;

    /* Table is the first, and a name the next or third, of all three kinds of messages. */
    if (mnl_nlmsg_get_payload_len(head) < skip ||
        !read_attrs((const char *)mnl_nlmsg_get_payload(head) + skip, mnl_nlmsg_get_payload_len(head) - skip, parts,
                    ARRAY_LEN(parts) - 1))
        return;
    of = text_of(parts[NFTA_SET_TABLE]);
    if (of == NULL || strcmp(of, table) != 0 ||
        ((const struct nfgenmsg *)mnl_nlmsg_get_payload(head))->nfgen_family != NFPROTO_BRIDGE)
        return;
    switch (head->nlmsg_type & 0xff) {
    case NFT_MSG_NEWSETELEM:
        name = text_of(parts[NFTA_SET_ELEM_LIST_SET]);
        if (name != NULL && parts[NFTA_SET_ELEM_LIST_ELEMENTS] != NULL)
            each_element(parts[NFTA_SET_ELEM_LIST_ELEMENTS], name, fn, ctx);
        break;
    case NFT_MSG_NEWSET:
        found.set = text_of(parts[NFTA_SET_NAME]);
        if (found.set != NULL)
            fn(ctx, &found);
        break;
    case NFT_MSG_NEWCHAIN:
        found.chain = text_of(parts[NFTA_CHAIN_NAME]);
        if (found.chain != NULL)
            fn(ctx, &found);
        break;
    }
}

void nft_each(const struct bridge *b, const struct runner_result *answer, nft_found_fn *fn, void *ctx)
{
    auto_str struct str table = STR_INIT;
    const struct nlmsghdr *head;
    int left;

    rules_table(b, &table);
    if (answer == NULL || answer->out == NULL || answer->len > INT32_MAX)
        return;
    head = (const struct nlmsghdr *)answer->out;
    for (left = (int)answer->len; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left))
        if (head->nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES)
            each_in(head, str_text(&table), fn, ctx);
}
