#include "core/http/side.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/str.h"

void bytes_add(struct bytes *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (b->at + b->len + len > b->cap) {
        size_t cap = b->len + len < 512 ? 512 : b->len + len;
        char *grown = mem_array(cap, 1);
        if (b->len > 0)
            memcpy(grown, b->ptr + b->at, b->len);
        free(b->ptr);
        *b = (struct bytes){.ptr = grown, .len = b->len, .cap = cap};
    }
    memcpy(b->ptr + b->at + b->len, data, len);
    b->len += len;
}

void bytes_skip(struct bytes *b, size_t len)
{
    b->at += len;
    b->len -= len;
}

void bytes_done(struct bytes *b)
{
    free(b->ptr);
    *b = (struct bytes){0};
}

#define EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)

int side_init(struct side *side, enum side_kind kind, int fd, int epoll)
{
    struct epoll_event event = {.events = EVENTS, .data.ptr = side};

    *side = (struct side){.fd = fd, .epoll = epoll, .kind = (uint8_t)kind, .rd = true, .wr = true};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* An edge comes also when there is room by now. */
static int await_room(struct side *side)
{
    struct epoll_event event = {.events = EVENTS | EPOLLOUT, .data.ptr = side};

    side->wr = false;
    if (!side->is_told_room && epoll_ctl(side->epoll, EPOLL_CTL_MOD, side->fd, &event) < 0)
        return SIDE_ERROR;
    side->is_told_room = true;
    return 0;
}

void side_close(struct side *side, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (side->fd < 0)
        return;
    if (reset)
        (void)setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    /* Closing is not enough: a child has a copy from its fork to its exec, and the events of that would be this side's. */
    (void)epoll_ctl(side->epoll, EPOLL_CTL_DEL, side->fd, NULL);
    close(side->fd);
    side->fd = -1;
    bytes_done(&side->in);
    bytes_done(&side->out);
}

ssize_t side_recv(struct side *side, void *data, size_t cap)
{
    ssize_t n;

    do
        n = recv(side->fd, data, cap, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        side->rd = false;
        return SIDE_WAIT;
    }
    if (n < 0)
        return SIDE_ERROR;
    if ((size_t)n < cap && !side->hup)
        side->rd = false;
    if (n > 0)
        side->has_moved = true;
    return n;
}

/* What a sendmsg() took of two parts, or SIDE_ERROR. */
static ssize_t side_send(struct side *side, struct iovec *parts, size_t n_parts)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
    size_t want = 0;
    ssize_t n;

    for (size_t i = 0; i < n_parts; i++)
        want += parts[i].iov_len;
    if (!side->wr || want == 0)
        return 0;
    do
        n = sendmsg(side->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return SIDE_ERROR;
    if ((n < 0 || (size_t)n < want) && await_room(side) < 0)
        return SIDE_ERROR;
    if (n > 0)
        side->has_moved = true;
    return n < 0 ? 0 : n;
}

int side_write_two(struct side *side, const void *head, size_t head_len, const void *body, size_t body_len)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)head, head_len}, {(void *)(uintptr_t)body, body_len}};
    ssize_t sent = side->out.len > 0 ? 0 : side_send(side, parts, body_len > 0 ? 2 : 1);

    if (sent < 0)
        return SIDE_ERROR;
    if ((size_t)sent < head_len) {
        bytes_add(&side->out, (const char *)head + sent, head_len - (size_t)sent);
        bytes_add(&side->out, body, body_len);
    } else {
        bytes_add(&side->out, (const char *)body + ((size_t)sent - head_len), body_len - ((size_t)sent - head_len));
    }
    return 0;
}

int side_write(struct side *side, const void *data, size_t len)
{
    return side_write_two(side, data, len, NULL, 0);
}

int side_flush(struct side *side)
{
    struct iovec part;
    ssize_t sent;

    if (side->out.len == 0)
        return 0;
    part = (struct iovec){side->out.ptr + side->out.at, side->out.len};
    sent = side_send(side, &part, 1);
    if (sent < 0)
        return SIDE_ERROR;
    bytes_skip(&side->out, (size_t)sent);
    if (side->out.len == 0)
        bytes_done(&side->out);
    return 0;
}
