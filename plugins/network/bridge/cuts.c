#include "plugins/network/bridge/cuts.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <string.h>

#define REQUEST_SIZE 512
#define FOUND_MAX    8192 /* connections that a look forgets; the rest is the next one's */

struct cut {
    struct cut *next;
    uint32_t address; /* network order */
    struct ranges stays;
};

struct cuts {
    pthread_mutex_t lock; /* the list */
    struct cut *list;
};

struct cuts *cuts_new(void)
{
    struct cuts *cuts = mem_alloc(sizeof *cuts);

    pthread_mutex_init(&cuts->lock, NULL);
    return cuts;
}

static void cut_free(struct cut *cut)
{
    ranges_done(&cut->stays);
    free(cut);
}

static void free_list(struct cut *list)
{
    while (list != NULL) {
        struct cut *cut = list;

        list = cut->next;
        cut_free(cut);
    }
}

void cuts_free(struct cuts *cuts)
{
    if (cuts == NULL)
        return;
    free_list(cuts->list);
    pthread_mutex_destroy(&cuts->lock);
    free(cuts);
}

/* Called with the lock held. */
static struct cut **link_of(struct cuts *cuts, uint32_t address)
{
    struct cut **link = &cuts->list;

    while (*link != NULL && (*link)->address != address)
        link = &(*link)->next;
    return link;
}

void cuts_set(struct cuts *cuts, const char *address, const struct runner_policy *policy)
{
    struct cut *cut = mem_alloc(sizeof *cut), **link, *old;
    struct range range;
    struct in_addr in;

    if (inet_pton(AF_INET, address, &in) != 1) {
        free(cut);
        return;
    }
    cut->address = in.s_addr;
    for (uint32_t i = 0; policy != NULL && i < policy->n_cidrs; i++)
        if (ranges_parse(policy->cidrs[i], &range))
            ranges_add(&cut->stays, range);
    pthread_mutex_lock(&cuts->lock);
    link = link_of(cuts, in.s_addr);
    old = *link;
    if (old != NULL)
        *link = old->next;
    if (policy != NULL) {
        cut->next = cuts->list;
        cuts->list = cut;
    }
    pthread_mutex_unlock(&cuts->lock);
    if (old != NULL)
        cut_free(old);
    if (policy == NULL)
        cut_free(cut);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

/* The attribute of that type within, of at least min bytes, or NULL. */
static const struct nlattr *find_nested(const struct nlattr *outer, uint16_t type, uint16_t min)
{
    const struct nlattr *attr;

    if (outer == NULL)
        return NULL;
    mnl_attr_for_each_nested(attr, outer)
    {
        if (mnl_attr_get_type(attr) == type)
            return mnl_attr_get_payload_len(attr) >= min ? attr : NULL;
    }
    return NULL;
}

static bool stays(const struct cut *list, const struct bridge *b, uint32_t from, uint32_t to)
{
    struct in_addr host;

    while (list != NULL && list->address != from)
        list = list->next;
    if (list == NULL || (inet_pton(AF_INET, b->address, &host) == 1 && host.s_addr == to))
        return true;
    for (size_t i = 0; i < list->stays.n; i++)
        if (ntohl(to) >= list->stays.list[i].first && ntohl(to) <= list->stays.list[i].last)
            return true;
    return false;
}

static struct nlmsghdr *begin(void *buffer, uint16_t message, uint16_t flags)
{
    struct nlmsghdr *head = mnl_nlmsg_put_header(buffer);
    struct nfgenmsg *about = mnl_nlmsg_put_extra_header(head, sizeof *about);

    head->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | message);
    head->nlmsg_flags = NLM_F_REQUEST | flags;
    *about = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    return head;
}

/* What names it is given back as it came, its number as well, so that a new one in its place is let alone. */
static bool name_it(const struct nlmsghdr *entry, struct nlmsghdr *to, uint32_t *ret_from, uint32_t *ret_to)
{
    const struct nlattr *attr, *ip = NULL, *source, *destination;

    if (entry->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) ||
        entry->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
        return false;
    mnl_attr_for_each(attr, entry, sizeof(struct nfgenmsg))
    {
        const uint16_t type = mnl_attr_get_type(attr);

        if (type != CTA_TUPLE_ORIG && type != CTA_ZONE && type != CTA_ID)
            continue;
        if (to->nlmsg_len + (size_t)MNL_ALIGN(attr->nla_len) > REQUEST_SIZE)
            return false;
        mnl_attr_put(to, attr->nla_type, mnl_attr_get_payload_len(attr), mnl_attr_get_payload(attr));
        if (type == CTA_TUPLE_ORIG)
            ip = find_nested(attr, CTA_TUPLE_IP, 0);
    }
    source = find_nested(ip, CTA_IP_V4_SRC, sizeof *ret_from);
    destination = find_nested(ip, CTA_IP_V4_DST, sizeof *ret_to);
    if (source == NULL || destination == NULL)
        return false;
    *ret_from = mnl_attr_get_u32(source);
    *ret_to = mnl_attr_get_u32(destination);
    return true;
}

static int add(struct runner_batch *batch, const struct nlmsghdr *message, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_NETLINK,
                                     .flags = RUNNER_S_OPTIONAL, /* it has ended by itself */
                                     .number = NETLINK_NETFILTER,
                                     .data = message,
                                     .len = message->nlmsg_len};

    return bridge_host->add(batch, &step, err);
}

static int forget(const struct bridge *b, struct runner_call *call, const struct runner_result *all,
                  const struct cut *list, struct runner_error *err)
{
    struct runner_batch *batch = bridge_host->batch_new(call);
    const struct nlmsghdr *entry = (const struct nlmsghdr *)all->out;
    int left = all->out != NULL && all->len <= INT32_MAX ? (int)all->len : 0, r = 0;
    uint32_t from, to, n = 0;

    for (; mnl_nlmsg_ok(entry, left) && n < FOUND_MAX && r >= 0; entry = mnl_nlmsg_next(entry, &left)) {
        uint32_t buffer[REQUEST_SIZE / sizeof(uint32_t)] = {0};
        struct nlmsghdr *head = begin(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);

        if (!name_it(entry, head, &from, &to) || stays(list, b, from, to))
            continue;
        r = add(batch, head, err);
        n++;
    }
    if (r >= 0)
        r = n > 0 ? bridge_host->run(call, batch, err) : 0;
    bridge_host->batch_free(batch);
    return r;
}

static bool is_due(struct cuts *cuts)
{
    bool is_due;

    pthread_mutex_lock(&cuts->lock);
    is_due = cuts->list != NULL;
    pthread_mutex_unlock(&cuts->lock);
    return is_due;
}

static struct cut *take(struct cuts *cuts)
{
    struct cut *list;

    pthread_mutex_lock(&cuts->lock);
    list = cuts->list;
    cuts->list = NULL;
    pthread_mutex_unlock(&cuts->lock);
    return list;
}

/* First all connections, and then who may speak to whom: what became allowed between is not among them. */
void cuts_run(const struct bridge *b, struct runner_call *call)
{
    struct runner_batch *batch;
    struct runner_error err = ERROR_INIT;
    uint32_t buffer[REQUEST_SIZE / sizeof(uint32_t)] = {0};
    struct cut *list;
    int at;

    if (!is_due(b->cuts))
        return;
    batch = bridge_host->batch_new(call);
    at = add(batch, begin(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP), &err);
    if (at >= 0 && bridge_host->run(call, batch, &err) == 0) {
        list = take(b->cuts);
        at = forget(b, call, bridge_host->result(batch, at), list, &err);
        free_list(list);
    } else {
        at = -1;
    }
    bridge_host->batch_free(batch);
    if (at < 0) {
        const struct runner_field fields[] = {{"bridge", b->name}, {"error", err.message}};

        bridge_host->log(call, RUNNER_LOG_WARN, "network.connections_kept", fields, ARRAY_LEN(fields));
    }
}
