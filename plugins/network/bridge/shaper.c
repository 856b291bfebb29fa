/* Limits of bandwidth by queues: what a sandbox receives waits at its port (tbf); what it sends goes by an interface of its
 * own (ifb), where it waits as well, before the bridge has seen it. Only sandboxes with a limit have any of it; what a
 * kernel does not know of it is left to the rules, which drop what is more. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/shaper.h"

#define MESSAGE_MAX 512
#define OUR_QUEUE   TC_H_MAKE(0x72U << 16, 0)
#define OUR_FILTER  0x80000800U /* the first of the first table */
#define LINKS_FIRST 0x40000000  /* far from the numbers that the kernel gives */
#define LINK_NAME   "ifb-%08" PRIx32
#define WAIT_PER_S  5          /* a fifth of a second's worth waits before more is dropped: ... */
#define BURST_PER_S 10         /* ... less than that and TCP loses packets at 10 Mbit/s; passes at once */
#define BURST_MIN   (16 << 10) /* bytes: some packets */
#define ETHERNET    TC_LINKLAYER_ETHERNET

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Messages of one NETLINK step; short, and a few. */
struct talk {
    union {
        struct nlmsghdr first;
        char bytes[4 * MESSAGE_MAX];
    };
    size_t len;
    struct nlmsghdr *head; /* the last one */
};

static void *begin(struct talk *t, int type, int flags, size_t size)
{
    t->head = mnl_nlmsg_put_header(t->bytes + t->len);
    t->head->nlmsg_type = (uint16_t)type;
    t->head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return mnl_nlmsg_put_extra_header(t->head, size);
}

static void end(struct talk *t)
{
    t->len += MNL_ALIGN(t->head->nlmsg_len);
}

/* path: the interface whose index the messages lack, or NULL. undo: NULL, or what is done should a later step fail. */
static int add(struct talk *t, const char *path, uint32_t flags, struct talk *undo, struct runner_batch *batch,
               struct runner_error *err)
{
    const struct runner_step back = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_NETLINK,
                                     .flags = RUNNER_S_OPTIONAL,
                                     .number = NETLINK_ROUTE,
                                     .path = path,
                                     .data = undo != NULL ? undo->bytes : NULL,
                                     .len = undo != NULL ? undo->len : 0};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_NETLINK,
                                     .flags = flags,
                                     .number = NETLINK_ROUTE,
                                     .path = path,
                                     .data = t->bytes,
                                     .len = t->len,
                                     .undo = undo != NULL ? &back : NULL};

    return bridge_host->add(batch, &step, err);
}

/* An interface that is there already stays as it is, when it is the same. index 0: the kernel gives one. */
static void make_link(struct talk *t, const char *kind, const char *name, int index, uint32_t group, bool is_up)
{
    struct ifinfomsg *info = begin(t, RTM_NEWLINK, NLM_F_CREATE, sizeof *info);
    struct nlattr *nest;

    info->ifi_index = index;
    info->ifi_change = is_up ? IFF_UP : 0;
    info->ifi_flags = is_up ? IFF_UP : 0;
    mnl_attr_put_strz(t->head, IFLA_IFNAME, name);
    mnl_attr_put_u32(t->head, IFLA_GROUP, group);
    nest = mnl_attr_nest_start(t->head, IFLA_LINKINFO);
    mnl_attr_put_strz(t->head, IFLA_INFO_KIND, kind);
    mnl_attr_nest_end(t->head, nest);
    end(t);
}

static void drop_link(struct talk *t, const char *name)
{
    (void)begin(t, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(t->head, IFLA_IFNAME, name);
    end(t);
}

static void about_queue(struct talk *t, int type, int flags, uint32_t parent, uint32_t handle)
{
    struct tcmsg *about = begin(t, type, flags, sizeof *about);

    about->tcm_parent = parent;
    about->tcm_handle = handle;
}

static uint32_t at_most(uint64_t value, uint32_t max)
{
    return value < max ? (uint32_t)value : max;
}

/* What leaves an interface. A queue that is there already goes on at the new rate, with what waits in it. */
static void set_rate(struct talk *t, uint64_t bytes_per_s)
{
    uint64_t share = bytes_per_s / BURST_PER_S, burst = share > BURST_MIN ? share : BURST_MIN;
    struct tc_tbf_qopt limit = {
        .rate = {.linklayer = ETHERNET, .rate = at_most(bytes_per_s, UINT32_MAX)},
        .limit = at_most(bytes_per_s / WAIT_PER_S + burst, INT32_MAX),
    };
    struct nlattr *nest;

    about_queue(t, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, TC_H_ROOT, OUR_QUEUE);
    mnl_attr_put_strz(t->head, TCA_KIND, "tbf");
    nest = mnl_attr_nest_start(t->head, TCA_OPTIONS);
    mnl_attr_put(t->head, TCA_TBF_PARMS, sizeof limit, &limit);
    mnl_attr_put_u64(t->head, TCA_TBF_RATE64, bytes_per_s);
    mnl_attr_put_u32(t->head, TCA_TBF_BURST, at_most(burst, INT32_MAX));
    mnl_attr_nest_end(t->head, nest);
    end(t);
}

static void clear_rate(struct talk *t)
{
    about_queue(t, RTM_DELQDISC, 0, TC_H_ROOT, 0);
    end(t);
}

/* All that comes in by an interface leaves by the one with that index. */
static void redirect(struct talk *t, int index)
{
    const struct tc_mirred to = {.action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)index};
    union {
        uint8_t bytes[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)];
        struct tc_u32_sel selector; /* its key is behind it */
    } all = {.bytes = {0}};
    struct nlattr *options, *actions, *action, *parameters;
    struct tcmsg *about;

    about_queue(t, RTM_NEWQDISC, NLM_F_CREATE, TC_H_INGRESS, TC_H_MAKE(TC_H_INGRESS, 0));
    mnl_attr_put_strz(t->head, TCA_KIND, "ingress");
    end(t);
    about_queue(t, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, TC_H_MAKE(TC_H_INGRESS, 0), OUR_FILTER);
    about = mnl_nlmsg_get_payload(t->head);
    about->tcm_info = TC_H_MAKE(1U << 16, htons(ETH_P_ALL)); /* priority, protocol */
    mnl_attr_put_strz(t->head, TCA_KIND, "u32");
    options = mnl_attr_nest_start(t->head, TCA_OPTIONS);
    all.selector.flags = TC_U32_TERMINAL;
    all.selector.nkeys = 1;
    mnl_attr_put(t->head, TCA_U32_SEL, sizeof all, &all);
    actions = mnl_attr_nest_start(t->head, TCA_U32_ACT);
    action = mnl_attr_nest_start(t->head, 1);
    mnl_attr_put_strz(t->head, TCA_ACT_KIND, "mirred");
    parameters = mnl_attr_nest_start(t->head, TCA_ACT_OPTIONS);
    mnl_attr_put(t->head, TCA_MIRRED_PARMS, sizeof to, &to);
    mnl_attr_nest_end(t->head, parameters);
    mnl_attr_nest_end(t->head, action);
    mnl_attr_nest_end(t->head, actions);
    mnl_attr_nest_end(t->head, options);
    end(t);
}

static void redirect_no_more(struct talk *t)
{
    about_queue(t, RTM_DELQDISC, 0, TC_H_INGRESS, 0);
    end(t);
}

/* ---- what the kernel has ----------------------------------------------------------------------------------------- */

/* All that it makes has the names and the number of one probe alone, beside those of other runners, too. */
int shaper_probe(struct runner_call *call, struct shaper_found *ret, struct runner_error *err)
{
    static _Atomic uint32_t n_probes;
    uint32_t number = (atomic_fetch_add(&n_probes, 1) << 16 | (uint32_t)getpid()) & 0xffffff;
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    struct talk bridge = {.len = 0}, rate = {.len = 0}, link = {.len = 0}, lead = {.len = 0}, no_bridge = {.len = 0},
                no_link = {.len = 0};
    char name[IFNAME_SIZE], other[IFNAME_SIZE];
    int rate_at, link_at, lead_at;

    (void)snprintf(name, sizeof name, "rshb-%06" PRIx32, number);
    (void)snprintf(other, sizeof other, "rshi-%06" PRIx32, number);
    make_link(&bridge, "bridge", name, 0, 0, false);
    set_rate(&rate, 1000000);
    make_link(&link, "ifb", other, LINKS_FIRST | (int)number, 0, false); /* 0.a.b.c is nobody's address */
    redirect(&lead, LINKS_FIRST | (int)number);
    drop_link(&no_bridge, name);
    drop_link(&no_link, other);
    if (add(&bridge, NULL, 0, &no_bridge, batch, err) < 0 ||
        (rate_at = add(&rate, name, RUNNER_S_OPTIONAL, NULL, batch, err)) < 0 ||
        (link_at = add(&link, NULL, RUNNER_S_OPTIONAL, &no_link, batch, err)) < 0 ||
        (lead_at = add(&lead, name, RUNNER_S_OPTIONAL, NULL, batch, err)) < 0 ||
        add(&no_bridge, NULL, 0, NULL, batch, err) < 0 ||
        add(&no_link, NULL, RUNNER_S_OPTIONAL, NULL, batch, err) < 0 || bridge_host->run(call, batch, err) < 0)
        return error_wrap(err, "trial of limits of bandwidth");
    ret->has_tbf = bridge_host->result(batch, rate_at)->status == 0;
    ret->has_ifb = bridge_host->result(batch, link_at)->status == 0;
    ret->has_redirect = bridge_host->result(batch, lead_at)->status == 0;
    return 0;
}

enum { CAN_RECEIVE = 1, CAN_SEND = 2, IS_KNOWN = 4 }; /* bridge.limits */

static int look(struct bridge *b, struct runner_call *call, uint32_t *ret, struct runner_error *err)
{
    struct shaper_found found;

    *ret = atomic_load(&b->limits);
    if (*ret != 0)
        return 0;
    if (shaper_probe(call, &found, err) < 0)
        return -1;
    *ret = IS_KNOWN | (found.has_tbf ? CAN_RECEIVE : 0) |
           (found.has_tbf && found.has_ifb && found.has_redirect ? CAN_SEND : 0);
    atomic_store(&b->limits, *ret);
    return 0;
}

/* ---- a sandbox --------------------------------------------------------------------------------------------------- */

/* The interface by which its packets go is known by its address: by name and by number. */
static void name_link(uint32_t address, char ret_name[IFNAME_SIZE], int *ret_index)
{
    (void)snprintf(ret_name, IFNAME_SIZE, LINK_NAME, ntohl(address));
    *ret_index = LINKS_FIRST | (int)(ntohl(address) & (LINKS_FIRST - 1));
}

/* It goes a moment later, beside others: the kernel waits while an interface is removed. */
static int bury(struct runner_batch *batch, const char *name, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};

    return bridge_host->add(batch, &step, err) < 0 ? -1 : 0;
}

static int limit_received(struct runner_batch *batch, const struct guest *g, uint64_t bytes_per_s,
                          struct runner_error *err)
{
    struct talk t = {.len = 0}, undo = {.len = 0};

    clear_rate(&undo);
    if (bytes_per_s == 0)
        return add(&undo, g->port, RUNNER_S_OPTIONAL, NULL, batch, err) < 0 ? -1 : 0;
    set_rate(&t, bytes_per_s);
    return add(&t, g->port, 0, &undo, batch, err) < 0 ? -1 : 0;
}

/* Packets are led there when it is ready, and no longer when it goes. */
static int limit_sent(const struct bridge *b, struct runner_batch *batch, const struct guest *g, uint64_t bytes_per_s,
                      struct runner_error *err)
{
    struct talk link = {.len = 0}, rate = {.len = 0}, lead = {.len = 0}, no_lead = {.len = 0};
    char name[IFNAME_SIZE];
    int index;

    name_link(g->address, name, &index);
    redirect_no_more(&no_lead);
    if (bytes_per_s == 0)
        return add(&no_lead, g->port, RUNNER_S_OPTIONAL, NULL, batch, err) < 0 ? -1 : bury(batch, name, err);
    make_link(&link, "ifb", name, index, b->group, true);
    set_rate(&rate, bytes_per_s);
    redirect(&lead, index);
    return add(&link, NULL, 0, NULL, batch, err) < 0 || add(&rate, name, 0, NULL, batch, err) < 0 ||
                   add(&lead, g->port, 0, &no_lead, batch, err) < 0
               ? -1
               : 0;
}

int shaper_plan(struct bridge *b, struct runner_call *call, struct runner_batch *batch, const struct guest *g,
                uint64_t *rx_bytes_per_s, uint64_t *tx_bytes_per_s, struct runner_error *err)
{
    uint32_t can = 0;

    if ((*rx_bytes_per_s > 0 || *tx_bytes_per_s > 0) && look(b, call, &can, err) < 0)
        return -1;
    if (limit_received(batch, g, can & CAN_RECEIVE ? *rx_bytes_per_s : 0, err) < 0 ||
        limit_sent(b, batch, g, can & CAN_SEND ? *tx_bytes_per_s : 0, err) < 0)
        return -1;
    if (can & CAN_RECEIVE)
        *rx_bytes_per_s = 0;
    if (can & CAN_SEND)
        *tx_bytes_per_s = 0;
    return 0;
}

int shaper_remove(const struct bridge *b, struct runner_batch *batch, const struct guest *g, struct runner_error *err)
{
    return limit_received(batch, g, 0, err) < 0 || limit_sent(b, batch, g, 0, err) < 0 ? -1 : 0;
}

/* ---- what no record owns ----------------------------------------------------------------------------------------- */

static bool is_owned(const struct runner_nic *const *owned, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        char its[IFNAME_SIZE];
        struct in_addr address;
        int index;

        if (owned[i]->kind != RUNNER_NIC_TAP || inet_pton(AF_INET, owned[i]->address, &address) != 1)
            continue;
        name_link(address.s_addr, its, &index);
        if (strcmp(its, name) == 0)
            return true;
    }
    return false;
}

/* An operation that goes on has that address. */
static bool is_reserved(const struct bridge *b, const char *name)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    uint32_t number;

    if (sscanf(name, "ifb-%8" SCNx32, &number) != 1)
        return true;
    address.s_addr = htonl(number);
    return inet_ntop(AF_INET, &address, text, sizeof text) != NULL && names_address(b->names, text) >= 0;
}

/* Or it was on its way when the runner was killed. */
static bool is_orphan(const struct bridge *b, const struct json *link, const struct runner_nic *const *owned, size_t n)
{
    auto_free char *group = mem_printf("%" PRIu32, b->group);
    const char *name = json_text(link, "ifname", "");

    if (text_starts(name, "tapd-", NULL))
        return true;
    return strcmp(json_text(link, "group", ""), group) == 0 && text_starts(name, "ifb-", NULL) &&
           !is_owned(owned, n, name) && !is_reserved(b, name);
}

int shaper_sweep(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                 struct runner_error *err)
{
    static const char *const argv[] = {"ip", "-j", "link", "show", "type", "ifb", NULL};
    const struct runner_step list = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};
    auto_batch struct runner_batch *ask = bridge_host->batch_new(call), *batch = bridge_host->batch_new(call);
    auto_json struct json *links = NULL;
    const struct runner_result *result;
    int index = bridge_host->add(ask, &list, err);

    if (index < 0 || bridge_host->run(call, ask, err) < 0)
        return error_wrap(err, "list of limits");
    result = bridge_host->result(ask, index);
    if (result->len > 0 && json_parse(result->out, result->len, &links, err) < 0)
        return error_wrap(err, "list of limits");
    for (const struct json *link = links != NULL ? links->first : NULL; link != NULL; link = link->next)
        if (is_orphan(b, link, owned, n) && bury(batch, json_text(link, "ifname", ""), err) < 0)
            return -1;
    return bridge_host->run(call, batch, err);
}
