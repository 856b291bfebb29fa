#include "core/http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/str.h"
#include "core/util/text.h"

#define BACKLOG  1024
#define GOING_MS 2000 /* for a process that was being started to go on, on a busy machine */

/* Splits "host:port" or "[host]:port". */
static int address_split(const char *address, char **ret_host, const char **ret_port, struct runner_error *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    int64_t port;

    if (colon == NULL || len == 0 || !num_int(colon + 1, 0, 65535, &port))
        return fail(err, RUNNER_E_INVALID, 0, "listen address '%s' is not HOST:PORT or unix:/PATH", address);
    if (address[0] == '[') {
        if (len < 3 || address[len - 1] != ']')
            return fail(err, RUNNER_E_INVALID, 0, "listen address '%s' has an unclosed '['", address);
        address++;
        len -= 2;
    }
    *ret_host = mem_dup_n(address, len);
    *ret_port = colon + 1;
    return 0;
}

/*
 * A process that a killed server was just starting has copies of its sockets until its exec, and nobody serves them. Who
 * connects then hears of it when they go. A server that lives hangs up as well, as nothing is asked.
 */
static void await_going(const struct sockaddr *name, socklen_t len)
{
    auto_close int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = GOING_MS / 1000};
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 || connect(fd, name, len) < 0)
        return;
    (void)shutdown(fd, SHUT_WR);
    (void)poll(&wait, 1, GOING_MS);
}

static int bind_patiently(int fd, const struct sockaddr *name, socklen_t len)
{
    if (bind(fd, name, len) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    await_going(name, len);
    return bind(fd, name, len);
}

static int tcp_bind(const char *address, const struct addrinfo *info, struct listener *ret, struct runner_error *err)
{
    auto_close int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    int on = 1;

    if (fd < 0)
        return fail_errno(err, errno, "socket for '%s'", address);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind_patiently(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return fail_errno(err, errno, "listen on '%s'", address);
    if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
        return fail_errno(err, errno, "address of '%s'", address);
    ret->port = bound.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)(void *)&bound)->sin6_port)
                                            : ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port);
    ret->fd = fd;
    fd = -1;
    return 0;
}

static int tcp_open(const char *address, struct listener *ret, struct runner_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    auto_free char *host = NULL;
    struct addrinfo *info;
    const char *port = NULL;
    int status;

    if (address_split(address, &host, &port, err) < 0)
        return -1;
    status = getaddrinfo(host, port, &hints, &info);
    if (status != 0)
        return fail(err, RUNNER_E_INVALID, 0, "listen address '%s': '%s' is no IP address (%s)", address, host,
                    gai_strerror(status));
    status = tcp_bind(address, info, ret, err);
    freeaddrinfo(info);
    return status;
}

/* 0, or an errno: ECONNREFUSED where nobody listens. */
static int try_connect(const struct sockaddr_un *name)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd >= 0 && connect(fd, (const struct sockaddr *)name, sizeof *name) == 0 ? 0 : errno;
}

/* Makes way for a new socket: what is there must be a socket that refuses. */
static int stale_remove(const char *path, const struct sockaddr_un *name, struct runner_error *err)
{
    struct stat st;
    int status;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "look at '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return fail(err, RUNNER_E_EXISTS, 0, "'%s' exists and is no socket", path);
    status = try_connect(name);
    if (status == 0) {
        await_going((const struct sockaddr *)name, sizeof *name);
        status = try_connect(name);
    }
    if (status == 0 || status == EAGAIN) /* it listens, or has more waiting than it takes */
        return fail(err, RUNNER_E_EXISTS, 0, "'%s' is in use by a running server", path);
    if (status != ECONNREFUSED)
        return fail_errno(err, status, "connect to '%s'", path);
    return unlink(path) == 0 || errno == ENOENT ? 0 : fail_errno(err, errno, "remove the old socket '%s'", path);
}

static int unix_open(const char *path, struct listener *ret, struct runner_error *err)
{
    auto_close int fd = -1;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;

    if (path[0] != '/' || strlen(path) >= sizeof name.sun_path)
        return fail(err, RUNNER_E_INVALID, 0, "unix socket '%s' is not an absolute path of at most %zu bytes", path,
                    sizeof name.sun_path - 1);
    memcpy(name.sun_path, path, strlen(path));
    if (stale_remove(path, &name, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, errno, "socket for '%s'", path);
    /* The file takes its mode from the socket, so there is no moment at which others may connect. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || lstat(path, &st) < 0 ||
        listen(fd, BACKLOG) < 0)
        return fail_errno(err, errno, "listen on 'unix:%s'", path);
    *ret = (struct listener){
        .fd = fd, .is_unix = true, .path = mem_dup(path), .path_dev = st.st_dev, .path_ino = st.st_ino};
    fd = -1;
    return 0;
}

int listener_open(const char *address, struct listener *ret, struct runner_error *err)
{
    const char *path;

    *ret = (struct listener){.fd = -1};
    if (text_starts(address, "unix:", &path))
        return unix_open(path, ret, err);
    return tcp_open(address, ret, err);
}

void listener_close(struct listener *listener)
{
    struct stat st;

    if (listener->fd < 0)
        return;
    close(listener->fd);
    listener->fd = -1;
    if (listener->path != NULL && lstat(listener->path, &st) == 0 && st.st_dev == listener->path_dev &&
        st.st_ino == listener->path_ino)
        (void)unlink(listener->path);
    free(listener->path);
    listener->path = NULL;
}
