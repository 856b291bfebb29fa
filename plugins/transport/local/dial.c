/* What can be dialled: unix:/path, tcp:a.b.c.d:port, bind:a.b.c.d:port, fifo:/path, tap:name. */
#include "plugins/transport/local/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/transport/local/unixaddr.h"

#define BACKLOG_MS 2 /* between tries at a unix socket whose backlog is full: there is no event for it */

union any_address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static bool parse_ip(const char *ip, uint16_t port, union any_address *ret, socklen_t *ret_len)
{
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, ip, &ret->in.sin_addr) == 1) {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons(port);
        *ret_len = sizeof ret->in;
        return true;
    }
    if (inet_pton(AF_INET6, ip, &ret->in6.sin6_addr) == 1) {
        ret->in6.sin6_family = AF_INET6;
        ret->in6.sin6_port = htons(port);
        *ret_len = sizeof ret->in6;
        return true;
    }
    return false;
}

/* a.b.c.d:port or [v6]:port behind "tcp:" or "bind:" */
static int parse_tcp(const char *address, union any_address *ret, socklen_t *ret_len, struct runner_error *err)
{
    const char *rest = strchr(address, ':') + 1, *colon = strrchr(rest, ':');
    size_t len = colon != NULL ? (size_t)(colon - rest) : 0;
    char ip[64];
    int64_t port;

    if (len >= 2 && rest[0] == '[' && rest[len - 1] == ']') {
        rest++;
        len -= 2;
    }
    if (colon == NULL || len == 0 || len >= sizeof ip || !num_int(colon + 1, 1, 65535, &port))
        return fail(err, RUNNER_E_INVALID, 0, "address '%s' is not tcp:IP:PORT or bind:IP:PORT", address);
    memcpy(ip, rest, len);
    ip[len] = '\0';
    if (!parse_ip(ip, (uint16_t)port, ret, ret_len))
        return fail(err, RUNNER_E_INVALID, 0, "address '%s' is not tcp:IP:PORT or bind:IP:PORT", address);
    return 0;
}

static int fail_connect(int sys_errno, const char *address, struct runner_error *err)
{
    switch (sys_errno) {
    case ECONNREFUSED:
    case ENOENT:
    case ENOTDIR:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ECONNRESET:
    case ETIMEDOUT:
        fail(err, RUNNER_E_UNREACHABLE, sys_errno, "connect to '%s'", address);
        if (err != NULL)
            err->retry = 1;
        return -1;
    default:
        return fail_errno(err, sys_errno, "connect to '%s'", address);
    }
}

static int finish_connect(const struct act *a, int fd, const char *address, struct runner_error *err)
{
    int sys_errno = 0;
    socklen_t len = sizeof sys_errno;

    if (act_wait(a, fd, POLLOUT, -1) < 0) {
        if (errno == ETIMEDOUT)
            return fail(err, RUNNER_E_TIMEOUT, 0, "connect to '%s': no answer in time", address);
        return fail_errno(err, errno, "connect to '%s'", address);
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len) < 0)
        sys_errno = errno;
    return sys_errno == 0 ? 0 : fail_connect(sys_errno, address, err);
}

static int connect_to(const struct act *a, int fd, const union any_address *to, socklen_t len, const char *address,
                      struct runner_error *err)
{
    while (connect(fd, &to->sa, len) < 0) {
        if (errno == EINPROGRESS)
            return finish_connect(a, fd, address, err);
        if (errno != EINTR && errno != EAGAIN)
            return fail_connect(errno, address, err);
        if (act_wait(a, -1, 0, BACKLOG_MS) < 0)
            return fail_errno(err, errno, "connect to '%s'", address);
    }
    return 0;
}

static int dial_stream(const struct act *a, const char *address, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = -1, dir = -1;
    union any_address to;
    socklen_t len = sizeof to.un;
    int one = 1;

    memset(&to, 0, sizeof to);
    if (text_starts(address, "unix:/", NULL)) {
        if (unixaddr_make(address + strlen("unix:"), &to.un, &dir, err) < 0)
            return err != NULL && err->sys_errno != 0 ? fail_connect(err->sys_errno, address, err) : -1;
    } else if (!text_starts(address, "tcp:", NULL)) {
        return fail(err, RUNNER_E_INVALID, 0,
                    "address '%s' is none of unix:/PATH, tcp:IP:PORT, bind:IP:PORT, fifo:/PATH, tap:NAME", address);
    } else if (parse_tcp(address, &to, &len, err) < 0) {
        return -1;
    }
    fd = socket(to.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (to.sa.sa_family != AF_UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        return fail_errno(err, errno, "socket of '%s'", address);
    if (connect_to(a, fd, &to, len, address, err) < 0)
        return -1;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* As programs bind that listen: what is left of a connection that has ended is not in the way. */
static int dial_bound(const char *address, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = -1;
    union any_address at;
    socklen_t len;
    int one = 1;

    if (parse_tcp(address, &at, &len, err) < 0)
        return -1;
    fd = socket(at.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        return fail_errno(err, errno, "socket");
    if (bind(fd, &at.sa, len) < 0) {
        if (errno == EADDRINUSE)
            return fail(err, RUNNER_E_BUSY, EADDRINUSE, "'%s': another has this port", address);
        return fail_errno(err, errno, "'%s'", address);
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int dial_fifo(const char *path, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0 && errno == ELOOP)
        return fail(err, RUNNER_E_INVALID, ELOOP, "fifo '%s': it is a link", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno == ENOTDIR ? ENOENT : errno, "fifo '%s'", path);
    if (!S_ISFIFO(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "fifo '%s': it is something else", path);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int dial_address(const struct act *a, const char *address, int *ret_fd, struct runner_error *err)
{
    const char *rest;

    if (text_starts(address, "fifo:/", NULL))
        return dial_fifo(address + strlen("fifo:"), ret_fd, err);
    if (text_starts(address, "tap:", &rest))
        return tap_dial(a->self, rest, ret_fd, err);
    if (text_starts(address, "bind:", NULL))
        return dial_bound(address, ret_fd, err);
    return dial_stream(a, address, ret_fd, err);
}
