#include "plugins/network/bridge/dns/element.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ROOM  4096 /* bytes of a request: two elements with the longest names */
#define TRIES 3    /* an element may expire between two looks */

int element_open(void)
{
    const struct timeval limit = {.tv_sec = 1}; /* nothing of the kernel's takes that long */
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), one = 1;
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&any, sizeof any) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one) == 0)
        return fd;
    close(fd);
    return -1;
}

struct request {
    char data[ROOM];
    size_t len;
    uint32_t seq; /* of its last message, which is acknowledged */
};

static uint32_t next_seq(void)
{
    static uint32_t seq;

    if (seq == 0)
        seq = (uint32_t)time(NULL);
    return ++seq;
}

static struct nlmsghdr *put_head(struct request *r, uint16_t type, uint16_t flags)
{
    r->seq = next_seq();
    return nftnl_nlmsg_build_hdr(r->data + r->len, type, NFPROTO_BRIDGE, flags, r->seq);
}

/* The names are bounded by allow.h: all fits into ROOM. Out of memory: nothing is added, and the kernel refuses that. */
static void put_element(struct request *r, uint16_t type, uint16_t flags, const char *table, const char *set,
                        uint32_t address, uint64_t timeout_ms)
{
    struct nftnl_set *s = nftnl_set_alloc();
    struct nftnl_set_elem *e = nftnl_set_elem_alloc();
    struct nlmsghdr *head = put_head(r, type, flags);

    if (s != NULL && e != NULL) {
        nftnl_set_set_str(s, NFTNL_SET_TABLE, table);
        nftnl_set_set_str(s, NFTNL_SET_NAME, set);
        nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, &address, sizeof address);
        if (timeout_ms > 0)
            nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT, timeout_ms);
        nftnl_set_elem_add(s, e);
        e = NULL;
        nftnl_set_elems_nlmsg_build_payload(head, s);
    }
    if (e != NULL)
        nftnl_set_elem_free(e);
    if (s != NULL)
        nftnl_set_free(s);
    r->len += NLMSG_ALIGN(head->nlmsg_len);
}

static void put_mark(struct request *r, bool is_end)
{
    struct nlmsghdr *head =
        is_end ? nftnl_batch_end(r->data + r->len, next_seq()) : nftnl_batch_begin(r->data + r->len, next_seq());

    r->len += NLMSG_ALIGN(head->nlmsg_len);
}

static bool send_request(int socket, const struct request *r)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t n;

    do
        n = sendto(socket, r->data, r->len, 0, (struct sockaddr *)&kernel, sizeof kernel);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)r->len;
}

/* Until the message of this number is acknowledged: 0, or -1 with errno. take: sees other answers to it; or NULL. What
 * belongs to an earlier request that was given up is passed over. */
static int await(int socket, uint32_t seq, void (*take)(const struct nlmsghdr *, void *), void *ctx)
{
    char data[8192];

    for (;;) {
        ssize_t n = recv(socket, data, sizeof data, 0);
        int len = (int)n;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            errno = errno == EAGAIN ? ETIMEDOUT : errno;
            return -1;
        }
        for (const struct nlmsghdr *head = (const void *)data; mnl_nlmsg_ok(head, len);
             head = mnl_nlmsg_next(head, &len)) {
            const struct nlmsgerr *error = mnl_nlmsg_get_payload(head);

            if (head->nlmsg_seq != seq)
                continue;
            if (head->nlmsg_type != NLMSG_ERROR) {
                if (take != NULL)
                    take(head, ctx);
                continue;
            }
            errno = -error->error;
            return error->error == 0 ? 0 : -1;
        }
    }
}

static int change(int socket, const char *table, const char *set, uint32_t address, bool removes, uint64_t timeout_ms)
{
    struct request r = {.len = 0};
    uint32_t first = 0, last;

    put_mark(&r, false);
    if (removes) {
        put_element(&r, NFT_MSG_DELSETELEM, NLM_F_ACK, table, set, address, 0);
        first = r.seq;
    }
    if (timeout_ms > 0)
        put_element(&r, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, table, set, address, timeout_ms);
    last = r.seq;
    put_mark(&r, true);
    if (!send_request(socket, &r))
        return -1;
    if (first != 0 && first != last && await(socket, first, NULL, NULL) < 0)
        return -1; /* what else comes of this request has its number, and is passed over */
    return await(socket, last, NULL, NULL);
}

struct looked {
    bool is_there;
    uint64_t left_ms;
};

static int take_element(struct nftnl_set_elem *e, void *ctx)
{
    struct looked *looked = ctx;

    looked->is_there = true;
    looked->left_ms = nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPIRATION)
                          ? nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_EXPIRATION)
                          : UINT64_MAX;
    return 0;
}

static void take_answer(const struct nlmsghdr *head, void *ctx)
{
    struct nftnl_set *s = nftnl_set_alloc();

    if (s == NULL)
        return;
    if (nftnl_set_elems_nlmsg_parse(head, s) == 0)
        nftnl_set_elem_foreach(s, take_element, ctx);
    nftnl_set_free(s);
}

/* How long it stays; 0: it is not there. */
static int look(int socket, const char *table, const char *set, uint32_t address, uint64_t *ret_ms)
{
    struct request r = {.len = 0};
    struct looked looked = {.is_there = false};

    put_element(&r, NFT_MSG_GETSETELEM, NLM_F_ACK, table, set, address, 0);
    *ret_ms = 0;
    if (!send_request(socket, &r))
        return -1;
    if (await(socket, r.seq, take_answer, &looked) < 0)
        return errno == ENOENT ? 0 : -1;
    *ret_ms = looked.is_there ? looked.left_ms : 0;
    return 0;
}

int element_add(int socket, const char *table, const char *set, uint32_t address, uint64_t timeout_ms)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t left_ms;

        if (change(socket, table, set, address, false, timeout_ms) == 0)
            return 0;
        if (errno != EEXIST || look(socket, table, set, address, &left_ms) < 0)
            return -1;
        if (left_ms >= timeout_ms)
            return 0;
        /* Older kernels leave the time-out of one that is there as it is: it is made anew, in one transaction. */
        if (change(socket, table, set, address, true, timeout_ms) == 0)
            return 0;
        if (errno != ENOENT)
            return -1;
    }
    errno = EAGAIN;
    return -1;
}

int element_remove(int socket, const char *table, const char *set, uint32_t address)
{
    return change(socket, table, set, address, true, 0) == 0 || errno == ENOENT ? 0 : -1;
}
