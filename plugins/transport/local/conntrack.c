/* CONNTRACK_DEL. Linux 6.8 and later delete by a filter, in one message whatever the number of connections; older kernels
 * delete one connection at a time, and are asked for the list first. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <string.h>

#include "plugins/transport/local/local.h"

#define REQUEST_SIZE 256
#define ENTRY_SIZE   1024 /* what names one connection takes far less */

static struct nlmsghdr *request_init(void *buffer, uint16_t message, uint16_t flags)
{
    struct nlmsghdr *head = mnl_nlmsg_put_header(buffer);
    struct nfgenmsg *about = mnl_nlmsg_put_extra_header(head, sizeof *about);

    head->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | message);
    head->nlmsg_flags = NLM_F_REQUEST | flags;
    *about = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    return head;
}

/* Of the direction in which a connection began, the source alone is looked at. */
static void put_filter(struct nlmsghdr *head, uint32_t address)
{
    struct nlattr *outer = mnl_attr_nest_start(head, CTA_TUPLE_ORIG);
    struct nlattr *inner = mnl_attr_nest_start(head, CTA_TUPLE_IP);

    mnl_attr_put_u32(head, CTA_IP_V4_SRC, address);
    mnl_attr_nest_end(head, inner);
    mnl_attr_nest_end(head, outer);
    outer = mnl_attr_nest_start(head, CTA_FILTER);
    mnl_attr_put_u32(head, CTA_FILTER_ORIG_FLAGS, 1);
    mnl_attr_put_u32(head, CTA_FILTER_REPLY_FLAGS, 0);
    mnl_attr_nest_end(head, outer);
}

static int delete_by_filter(struct local *self, uint32_t address, struct runner_error *err)
{
    char buffer[REQUEST_SIZE] = {0};
    struct nlmsghdr *head = request_init(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);

    put_filter(head, address);
    return messages_exchange(self, NETLINK_NETFILTER, head, head->nlmsg_len, NULL, err);
}

static int list_by_filter(struct local *self, uint32_t address, struct str *ret, struct runner_error *err)
{
    char buffer[REQUEST_SIZE] = {0};
    struct nlmsghdr *head = request_init(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP);

    put_filter(head, address);
    return messages_exchange(self, NETLINK_NETFILTER, head, head->nlmsg_len, ret, err);
}

/* The attribute of that type within, of at least min bytes, or NULL. */
static const struct nlattr *find_nested(const struct nlattr *outer, uint16_t type, uint16_t min)
{
    const struct nlattr *attr;

    if (outer == NULL)
        return NULL;
    mnl_attr_for_each_nested (attr, outer)
        if (mnl_attr_get_type(attr) == type)
            return mnl_attr_get_payload_len(attr) >= min ? attr : NULL;
    return NULL;
}

/* What names the connection is given back as it came: where it began, its zone, and its number, so that one that is new
 * under the same name is let alone. False: it is another address's. */
static bool name_connection(const struct nlmsghdr *entry, uint32_t address, struct nlmsghdr *to)
{
    const struct nlattr *attr, *from = NULL;
    size_t room = ENTRY_SIZE - to->nlmsg_len;

    if (entry->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) ||
        entry->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
        return false;
    mnl_attr_for_each(attr, entry, sizeof(struct nfgenmsg))
    {
        uint16_t type = mnl_attr_get_type(attr);

        if (type != CTA_TUPLE_ORIG && type != CTA_ZONE && type != CTA_ID)
            continue;
        if ((size_t)MNL_ALIGN(attr->nla_len) > room)
            return false;
        room -= (size_t)MNL_ALIGN(attr->nla_len);
        mnl_attr_put(to, attr->nla_type, mnl_attr_get_payload_len(attr), mnl_attr_get_payload(attr));
        if (type == CTA_TUPLE_ORIG)
            from = find_nested(find_nested(attr, CTA_TUPLE_IP, 0), CTA_IP_V4_SRC, sizeof address);
    }
    return from != NULL && mnl_attr_get_u32(from) == address;
}

static int delete_listed(struct local *self, uint32_t address, const struct str *list, struct runner_error *err)
{
    const struct nlmsghdr *entry = (const struct nlmsghdr *)list->ptr;
    int left = (int)list->len;

    for (; mnl_nlmsg_ok(entry, left); entry = mnl_nlmsg_next(entry, &left)) {
        char buffer[ENTRY_SIZE] = {0};
        struct nlmsghdr *head = request_init(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
        struct runner_error cause = ERROR_INIT;

        if (name_connection(entry, address, head) &&
            messages_exchange(self, NETLINK_NETFILTER, head, head->nlmsg_len, NULL, &cause) < 0 &&
            cause.code != RUNNER_E_NOTFOUND) /* it ended by itself */
            return fail(err, cause.code, cause.sys_errno, "%s", cause.message);
    }
    return 0;
}

static int delete_one_by_one(struct local *self, uint32_t address, struct runner_error *err)
{
    struct str list = STR_INIT;
    int status = list_by_filter(self, address, &list, err);

    if (status == 0)
        status = delete_listed(self, address, &list, err);
    str_done(&list);
    return status;
}

/* A kernel that keeps no connections knows none of the messages: it says INVALID, as an old one says of the filter. */
int conntrack_del(const struct act *a, const struct runner_step *step, struct runner_result *result,
                  struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    struct in_addr address;
    int status = -1;

    if (inet_pton(AF_INET, step->path, &address) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "conntrack_del: '%.64s' is no IPv4 address", step->path);
    cause.code = RUNNER_E_INVALID;
    if (!atomic_load(&a->self->conntrack_is_old))
        status = delete_by_filter(a->self, address.s_addr, &cause);
    if (status < 0 && cause.code == RUNNER_E_INVALID) {
        status = delete_one_by_one(a->self, address.s_addr, &cause);
        if (status == 0)
            atomic_store(&a->self->conntrack_is_old, true);
    }
    if (status == 0 || cause.code == RUNNER_E_NOTFOUND)
        return 0;
    if (cause.code == RUNNER_E_INVALID || cause.code == RUNNER_E_NOTSUP || cause.code == RUNNER_E_DENIED) {
        result->status = 1;
        return 0;
    }
    return fail(err, cause.code, cause.sys_errno, "conntrack_del %s: %s", step->path, cause.message);
}
