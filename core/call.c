#include "core/call.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/util/num.h"

void call_init_alone(struct runner_call *call, struct host *host, const char *id, int64_t timeout_ms)
{
    memset(call, 0, sizeof *call);
    call->host = host;
    call->id = id;
    call->deadline_us = num_now_us() + timeout_ms * 1000;
    call->cancel_fd = -1;
}

void call_init(struct runner_call *call, struct host *host, const char *id, int64_t timeout_ms)
{
    call_init_alone(call, host, id, timeout_ms);
    call->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void call_done(struct runner_call *call)
{
    if (call->parent == NULL && call->cancel_fd >= 0)
        close(call->cancel_fd);
    call->cancel_fd = -1;
}

void call_init_child(struct runner_call *child, struct runner_call *parent, int64_t timeout_ms)
{
    int64_t deadline_us = num_now_us() + timeout_ms * 1000;

    memset(child, 0, sizeof *child);
    child->host = parent->host;
    child->id = parent->id;
    child->deadline_us = deadline_us < parent->deadline_us ? deadline_us : parent->deadline_us;
    child->cancel_fd = parent->cancel_fd;
    child->parent = parent;
}

void call_cancel(struct runner_call *call)
{
    uint64_t one = 1;

    atomic_store(&call->cancelled, 1);
    if (call->cancel_fd >= 0)
        (void)!write(call->cancel_fd, &one, sizeof one);
}

static int is_cancelled(struct runner_call *call)
{
    for (; call != NULL; call = call->parent)
        if (atomic_load(&call->cancelled))
            return 1;
    return 0;
}

int call_cancelled(struct runner_call *call)
{
    if (call == NULL)
        return 0;
    if (is_cancelled(call))
        return RUNNER_E_CANCELLED;
    return num_now_us() >= call->deadline_us ? RUNNER_E_TIMEOUT : 0;
}

int64_t call_left_ms(struct runner_call *call)
{
    int64_t left_us = call->deadline_us - num_now_us();

    return left_us > 0 ? (left_us + 999) / 1000 : 0;
}

static int stopped(int code)
{
    errno = code == RUNNER_E_CANCELLED ? ECANCELED : ETIMEDOUT;
    return -1;
}

int call_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    int64_t end_us = ms < 0 ? INT64_MAX : num_now_us() + ms * 1000;

    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = call->cancel_fd, .events = POLLIN}};
        int code = call_cancelled(call);
        int64_t until_us = end_us < call->deadline_us ? end_us : call->deadline_us;
        int64_t left_ms = (until_us - num_now_us() + 999) / 1000;
        int n;

        if (code != 0)
            return stopped(code);
        n = poll(fds, 2, left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0 && fds[1].revents != 0)
            return stopped(RUNNER_E_CANCELLED);
        if (n > 0 && fds[0].revents != 0)
            return fds[0].revents;
        if (num_now_us() >= end_us)
            return 0;
    }
}
