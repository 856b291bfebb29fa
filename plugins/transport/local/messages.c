/* NETLINK: a plugin's messages to the kernel, as they are. The kernel answers before sendto() is over, so that nothing is
 * waited for; what it answers is taken with as much care as what comes from elsewhere. */
#include "plugins/transport/local/local.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define DATA_MAX    (1 << 20)
#define OUT_MAX     (16 << 20)
#define BUFFER_SIZE (64 << 10) /* the kernel fills at most 32 KiB at once */
#define ROOM        (4 << 20)  /* for what the kernel answers before we read */
#define TRIES       20         /* of a list that changed while it was told */

struct talk { /* one step */
    int fd;
    bool is_netfilter;
    bool is_broken; /* there may be something left in the socket */
    char *data;     /* ours, so that messages can be numbered */
    size_t len;
    char *buffer; /* of BUFFER_SIZE */
    struct str out;
};

struct answer { /* to what was sent at once */
    uint32_t n_acks, n_dones;
    bool is_broken_up; /* a list changed while it was told */
    int error;         /* negative errno */
    uint32_t number;   /* of the message it is about, from 1; 0: of all */
    char text[160];    /* the kernel's word for it */
};

/* Whole messages, one behind the other; each gets its number. */
static int check_messages(struct talk *t, uint32_t *ret_n, struct runner_error *err)
{
    uint32_t n = 0;

    for (size_t at = 0; at < t->len; n++) {
        struct nlmsghdr *head = (struct nlmsghdr *)(t->data + at);

        if (t->len - at < sizeof *head || head->nlmsg_len < sizeof *head || head->nlmsg_len > t->len - at ||
            head->nlmsg_len > INT_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "netlink: message %u of %zu bytes at %zu is none", n + 1, t->len, at);
        head->nlmsg_seq = n + 1;
        head->nlmsg_pid = 0;
        at += NLMSG_ALIGN(head->nlmsg_len);
    }
    *ret_n = n;
    return 0;
}

/* The interface of that name is the one they are about: ifinfomsg and tcmsg have its index in the same place. */
static int put_index(struct talk *t, const char *name, struct runner_error *err)
{
    const size_t at = NLMSG_HDRLEN + offsetof(struct ifinfomsg, ifi_index);
    int index = (int)if_nametoindex(name);

    static_assert(offsetof(struct ifinfomsg, ifi_index) == offsetof(struct tcmsg, tcm_ifindex), "one place for both");
    if (index == 0)
        return fail_errno(err, errno, "netlink: interface '%s'", name);
    for (size_t i = 0; i < t->len; i += NLMSG_ALIGN(((struct nlmsghdr *)(t->data + i))->nlmsg_len))
        if (((struct nlmsghdr *)(t->data + i))->nlmsg_len >= at + sizeof index)
            memcpy(t->data + i + at, &index, sizeof index);
    return 0;
}

/* How much is sent at once from here on: a message, or a transaction. Counts what is to be answered. */
static int measure(const struct talk *t, size_t at, size_t *ret_len, struct answer *ret_due, struct runner_error *err)
{
    bool is_transaction = false;
    size_t start = at;

    *ret_due = (struct answer){0};
    while (at < t->len) {
        const struct nlmsghdr *head = (const struct nlmsghdr *)(t->data + at);
        bool is_last = !is_transaction || head->nlmsg_type == NFNL_MSG_BATCH_END;

        if (t->is_netfilter && at == start && head->nlmsg_type == NFNL_MSG_BATCH_BEGIN) {
            is_transaction = true;
            is_last = false;
        }
        if ((head->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP && !is_transaction)
            ret_due->n_dones++;
        else if (head->nlmsg_flags & NLM_F_ACK)
            ret_due->n_acks++;
        at += NLMSG_ALIGN(head->nlmsg_len);
        if (is_last) {
            *ret_len = (at < t->len ? at : t->len) - start;
            return 0;
        }
    }
    return fail(err, RUNNER_E_INVALID, 0, "netlink: a transaction has no end");
}

/* ---- answers ---- */

/* Behind the number of an error: our message, or its head alone, and then attributes. */
static void read_text(const struct nlmsghdr *head, const struct nlmsgerr *e, struct answer *to)
{
    size_t skip = sizeof *e, len = head->nlmsg_len - NLMSG_HDRLEN;
    const char *at = (const char *)e;

    if (!(head->nlmsg_flags & NLM_F_ACK_TLVS))
        return;
    if (!(head->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len > sizeof e->msg)
        skip += NLMSG_ALIGN(e->msg.nlmsg_len - sizeof e->msg);
    while (len >= skip + NLA_HDRLEN) {
        struct nlattr attr;

        memcpy(&attr, at + skip, sizeof attr);
        if (attr.nla_len < NLA_HDRLEN || attr.nla_len > len - skip)
            return;
        if ((attr.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
            (void)snprintf(to->text, sizeof to->text, ": %.*s", (int)(attr.nla_len - NLA_HDRLEN),
                           at + skip + NLA_HDRLEN);
            return;
        }
        skip += NLA_ALIGN(attr.nla_len);
    }
}

static void read_error(const struct nlmsghdr *head, struct answer *to)
{
    const struct nlmsgerr *e = NLMSG_DATA(head);

    if (head->nlmsg_len < NLMSG_LENGTH(sizeof *e) || e->error > 0) {
        to->error = to->error == 0 ? -EPROTO : to->error;
    } else if (e->error == 0) {
        to->n_acks++;
    } else if (to->error == 0) {
        to->error = e->error;
        to->number = head->nlmsg_seq;
        read_text(head, e, to);
    }
}

static void read_message(struct talk *t, const struct nlmsghdr *head, struct answer *to)
{
    to->is_broken_up |= (head->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    switch (head->nlmsg_type) {
    case NLMSG_NOOP:
        break;
    case NLMSG_ERROR:
        read_error(head, to);
        break;
    case NLMSG_DONE:
        to->n_dones++;
        if (head->nlmsg_len >= NLMSG_LENGTH(sizeof(int)) && to->error == 0 && *(const int *)NLMSG_DATA(head) < 0)
            to->error = *(const int *)NLMSG_DATA(head);
        break;
    case NLMSG_OVERRUN:
        to->error = to->error == 0 ? -ENOBUFS : to->error;
        break;
    default:
        if (t->out.len + NLMSG_ALIGN(head->nlmsg_len) > OUT_MAX) {
            to->error = -EFBIG;
            break;
        }
        str_add_mem(&t->out, head, head->nlmsg_len);
        str_add_mem(&t->out, "\0\0\0", NLMSG_ALIGN(head->nlmsg_len) - head->nlmsg_len);
    }
}

/* All that is there. */
static void take_answers(struct talk *t, struct answer *to)
{
    for (;;) {
        struct sockaddr_nl from = {.nl_pid = 0};
        struct iovec room = {.iov_base = t->buffer, .iov_len = BUFFER_SIZE};
        struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &room, .msg_iovlen = 1};
        ssize_t n = recvmsg(t->fd, &message, MSG_DONTWAIT);
        int left = (int)n;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            t->is_broken |= errno != EAGAIN;
            if (errno != EAGAIN && to->error == 0)
                to->error = -errno;
            return;
        }
        if ((message.msg_flags & MSG_TRUNC) && to->error == 0)
            to->error = -EMSGSIZE;
        if (from.nl_pid != 0) /* not the kernel's */
            continue;
        for (const struct nlmsghdr *head = (const struct nlmsghdr *)t->buffer; mnl_nlmsg_ok(head, left);
             head = mnl_nlmsg_next(head, &left))
            read_message(t, head, to);
    }
}

/* ---- the step ---- */

static int open_socket(int protocol, int *ret_fd, struct runner_error *err)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), room = ROOM, yes = 1;

    if (fd < 0)
        return fail_errno(err, errno, "netlink protocol %d", protocol);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof yes);
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &yes, sizeof yes);
    *ret_fd = fd;
    return 0;
}

static int send_once(struct talk *t, size_t at, size_t len, struct answer *ret)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    *ret = (struct answer){0};
    if (sendto(t->fd, t->data + at, len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -errno;
    take_answers(t, ret);
    return 0;
}

/* A list that changes while it is told is asked for again. */
static int send_unit(struct talk *t, size_t at, size_t len, struct answer *ret)
{
    size_t before = t->out.len;
    int r = -EAGAIN;

    for (int i = 0; i < TRIES; i++) {
        t->out.len = before;
        r = send_once(t, at, len, ret);
        if (r < 0 || !ret->is_broken_up)
            return r;
    }
    return -EAGAIN;
}

static int fail_unit(const struct answer *answer, uint32_t n, int r, struct runner_error *err)
{
    if (r < 0) {
        (void)fail_errno(err, -r, "netlink: send");
        if (r == -EAGAIN && err != NULL)
            err->retry = 1;
        return -1;
    }
    if (answer->error < 0)
        return fail_errno(err, -answer->error, "netlink: message %u of %u%s", answer->number, n, answer->text);
    return fail(err, RUNNER_E_IO, EPROTO, "netlink: the kernel did not answer");
}

static int send_all(struct talk *t, uint32_t n, struct runner_error *err)
{
    struct answer due, answer;
    size_t len = 0;

    for (size_t at = 0; at < t->len; at += len) {
        int r;

        if (measure(t, at, &len, &due, err) < 0)
            return -1;
        r = send_unit(t, at, len, &answer);
        if (r < 0 || answer.error < 0 || answer.n_acks < due.n_acks || answer.n_dones < due.n_dones)
            return fail_unit(&answer, n, r, err);
    }
    return 0;
}

/* Closing a socket of netfilter's takes the kernel some 12 ms after a deletion, since it ends what is under way: one is kept.
 * It is for one step at a time; the kernel takes one transaction at a time itself. */
static int talk_netfilter(struct local *self, struct talk *t, uint32_t n, struct runner_error *err)
{
    int status = 0;

    pthread_mutex_lock(&self->netfilter_lock);
    if (self->netfilter_fd < 0)
        status = open_socket(NETLINK_NETFILTER, &self->netfilter_fd, err);
    t->fd = self->netfilter_fd;
    if (status == 0)
        status = send_all(t, n, err);
    if (t->is_broken) {
        close(self->netfilter_fd);
        self->netfilter_fd = -1;
    }
    pthread_mutex_unlock(&self->netfilter_lock);
    return status;
}

static int talk(struct talk *t, int protocol, uint32_t n, struct runner_error *err)
{
    int status = open_socket(protocol, &t->fd, err);

    if (status == 0)
        status = send_all(t, n, err);
    cleanup_close(&t->fd);
    return status;
}

/* about: the interface that the messages are about, or NULL: they say it. */
static int exchange(struct local *self, int protocol, const char *about, const void *data, size_t len,
                    struct str *ret_out, struct runner_error *err)
{
    struct talk t = {.fd = -1, .is_netfilter = protocol == NETLINK_NETFILTER, .len = len};
    uint32_t n = 0;
    int status;

    if (data == NULL || len == 0 || len > DATA_MAX || protocol < 0 || protocol >= MAX_LINKS)
        return fail(err, RUNNER_E_INVALID, 0, "netlink: %zu bytes for protocol %d", len, protocol);
    t.data = mem_alloc(NLMSG_ALIGN(len)); /* aligned, and the last message's padding is there */
    memcpy(t.data, data, len);
    t.buffer = mem_array(1, BUFFER_SIZE);
    status = check_messages(&t, &n, err);
    if (status == 0 && about != NULL)
        status = put_index(&t, about, err);
    if (status == 0)
        status = t.is_netfilter && self != NULL ? talk_netfilter(self, &t, n, err) : talk(&t, protocol, n, err);
    if (status == 0 && ret_out != NULL && t.out.len > 0)
        str_add_mem(ret_out, t.out.ptr, t.out.len);
    str_done(&t.out);
    free(t.data);
    free(t.buffer);
    return status;
}

int messages_exchange(struct local *self, int protocol, const void *data, size_t len, struct str *ret_out,
                      struct runner_error *err)
{
    return exchange(self, protocol, NULL, data, len, ret_out, err);
}

int messages_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
                 struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    struct str out = {0};
    int status;

    if (step->number < 0 || step->number >= MAX_LINKS)
        return fail(err, RUNNER_E_INVALID, 0, "netlink: protocol %lld", (long long)step->number);
    status = exchange(a->self, (int)step->number, step->path, step->data, step->len, &out, &cause);
    if (status == 0 && out.len > 0)
        status = act_output(result, out.ptr, out.len, &cause);
    if (status < 0 && (step->flags & RUNNER_S_OPTIONAL) &&
        (cause.code == RUNNER_E_NOTFOUND || (cause.code == RUNNER_E_NOTSUP && step->number == NETLINK_ROUTE))) {
        result->status = 1;
        status = 0;
    } else if (status < 0 && err != NULL) {
        error_copy(err, &cause);
    }
    str_done(&out);
    return status;
}
