/* An operation in flight: its deadline, its cancel; waiting and dialling within it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"
#include "kit/fake/inner.h"

int64_t fake_left_ms(struct runner_call *call)
{
    int64_t left = call->deadline_ms < 0 ? INT32_MAX : call->deadline_ms - num_now_ms();

    return left > 0 ? left : 0;
}

static bool is_cancelled(struct runner_call *call)
{
    struct pollfd p = {.fd = call->cancel_fd, .events = POLLIN};

    return call->is_cancelled || (call->cancel_fd >= 0 && poll(&p, 1, 0) > 0);
}

int fake_cancelled(struct runner_call *call)
{
    int code = fake_gate(FAKE_ASK, call, NULL);

    if (code != 0)
        return code;
    if (is_cancelled(call))
        return RUNNER_E_CANCELLED;
    return fake_left_ms(call) == 0 ? RUNNER_E_TIMEOUT : 0;
}

static int stopped(int code)
{
    errno = code == RUNNER_E_CANCELLED ? ECANCELED : ETIMEDOUT;
    return -1;
}

int fake_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = call->cancel_fd, .events = POLLIN}};
    int64_t left = fake_left_ms(call);
    bool is_own = ms >= 0 && ms < left;
    int code = fake_gate(FAKE_WAIT, call, NULL), n;

    if (code != 0)
        return stopped(code);
    if (is_cancelled(call))
        return stopped(RUNNER_E_CANCELLED);
    if (!is_own)
        ms = left;
    n = poll(p, 2, ms >= INT32_MAX ? -1 : (int)ms);
    if (n > 0 && p[1].revents != 0)
        return stopped(RUNNER_E_CANCELLED);
    if (n == 0 && !is_own)
        return stopped(RUNNER_E_TIMEOUT);
    return n > 0 ? p[0].revents : n;
}

/* ---- dial ---- */

static socklen_t parse_address(const char *text, struct sockaddr_storage *ret)
{
    struct sockaddr_un *un = (struct sockaddr_un *)ret;
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    const char *rest, *colon;
    char host[64];
    int64_t port;

    memset(ret, 0, sizeof *ret);
    if (text_starts(text, "unix:", &rest) && strlen(rest) < sizeof un->sun_path) {
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, rest, strlen(rest));
        return sizeof *un;
    }
    if ((!text_starts(text, "tcp:", &rest) && !text_starts(text, "bind:", &rest)) ||
        (colon = strrchr(rest, ':')) == NULL || colon - rest >= 64 || !num_int(colon + 1, 1, 65535, &port))
        return 0;
    memcpy(host, rest, (size_t)(colon - rest));
    host[colon - rest] = '\0';
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? sizeof *in : 0;
}

static int dial_fifo(const char *path, int *ret_fd, struct runner_error *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, errno, "dial 'fifo:%s'", path);
    *ret_fd = fd;
    return 0;
}

static int dial_socket(const char *address, int *ret_fd, struct runner_error *err)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address(address, &addr);
    int fd;

    if (len == 0)
        return fail(err, RUNNER_E_INVALID, 0, "address '%s'", address);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&addr, len) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int saved_errno = errno;

        close(fd);
        return fail(err, RUNNER_E_UNREACHABLE, saved_errno, "dial '%s'", address);
    }
    *ret_fd = fd;
    return 0;
}

static int dial_bound(const char *address, int *ret_fd, struct runner_error *err)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address(address, &addr);
    int fd, one = 1;

    if (len == 0)
        return fail(err, RUNNER_E_INVALID, 0, "address '%s'", address);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0) {
        int saved_errno = errno;

        close(fd);
        return fail(err, saved_errno == EADDRINUSE ? RUNNER_E_BUSY : RUNNER_E_IO, saved_errno, "dial '%s'", address);
    }
    *ret_fd = fd;
    return 0;
}

int fake_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    int code = fake_gate(FAKE_DIAL, call, address);
    const char *path;

    if (code != 0)
        return fake_gate_fail(code, address, err);
    if (is_cancelled(call))
        return fail(err, RUNNER_E_CANCELLED, 0, "cancelled");
    if (fake.transport != NULL && fake.transport->dial != NULL)
        return fake.transport->dial(fake.transport_self, call, address, ret_fd, err);
    if (fake.dial_to != NULL && (text_starts(address, "fifo:", NULL) || text_starts(address, "unix:", NULL)))
        return dial_socket(fake.dial_to, ret_fd, err);
    if (text_starts(address, "fifo:", &path))
        return dial_fifo(path, ret_fd, err);
    if (text_starts(address, "tap:", NULL))
        return fail(err, RUNNER_E_NOTSUP, 0, "dial '%s': no descriptor leaves this host", address);
    if (text_starts(address, "bind:", NULL))
        return dial_bound(address, ret_fd, err);
    return dial_socket(address, ret_fd, err);
}

/* ---- what the tests call ---- */

void fake_host_dial_to(const char *path)
{
    free(fake.dial_to);
    fake.dial_to = path != NULL ? mem_printf("unix:%s", path) : NULL;
}

struct runner_call *fake_call(void)
{
    return &fake.call;
}

struct runner_call *fake_call_new(void)
{
    struct runner_call *call = mem_alloc(sizeof *call);

    *call = (struct runner_call){.deadline_ms = -1, .cancel_fd = -1};
    return call;
}

void fake_call_free(struct runner_call *call)
{
    free(call);
}

void fake_host_deadline(int64_t ms)
{
    fake.call.deadline_ms = ms < 0 ? -1 : num_now_ms() + ms;
}

void fake_host_cancel(bool is_wanted)
{
    fake.call.is_cancelled = is_wanted;
}

void fake_host_cancel_fd(int fd)
{
    fake.call.cancel_fd = fd;
}
