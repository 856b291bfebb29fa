/* What the kernel answers about the bridge table: read with as much care as what comes from elsewhere. */
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "plugins/network/bridge/nft.h"

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
