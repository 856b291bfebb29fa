/* Descriptors that are opened for a new process. */
#include "plugins/transport/local/given.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "plugins/transport/local/kept.h"
#include "plugins/transport/local/unixaddr.h"

/* The lock is ours, so whatever socket or FIFO is there is a dead process's. */
static int remove_stale(const char *path, mode_t type, const char *what, struct runner_error *err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "%s '%s'", what, path);
    if ((st.st_mode & S_IFMT) != type)
        return fail(err, RUNNER_E_EXISTS, 0, "%s '%s': something else has this name", what, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return fail_errno(err, errno, "remove stale %s '%s'", what, path);
    return 0;
}

static int open_listener(const char *path, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir = -1;
    struct sockaddr_un address;

    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (remove_stale(path, S_IFSOCK, "socket", err) < 0 || unixaddr_make(path, &address, &dir, err) < 0)
        return -1;
    /* The mode of the file is that of the socket at bind(): never open to others, not even for a moment. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return fail_errno(err, errno, "bind '%s'", path);
    if (listen(fd, 128) < 0) {
        fail_errno(err, errno, "listen at '%s'", path);
        (void)unlink(path);
        return -1;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* Read and write: there is a reader always, so no writing breaks (EPIPE) or is lost when one that dialled it leaves. */
static int open_fifo(const struct kept *kept, const char *path, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = -1;
    const char *name;
    int dir = kept_at(kept, path, &name);
    bool is_new = kept_lacks(kept, path);
    struct stat st = {.st_mode = S_IFIFO};

    if (!is_new && remove_stale(path, S_IFIFO, "fifo", err) < 0)
        return -1;
    if (mkfifoat(dir, name, 0600) < 0)
        return fail_errno(err, errno, "make fifo '%s'", path);
    fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || (!is_new && fstat(fd, &st) < 0)) {
        fail_errno(err, errno, "open fifo '%s'", path);
        (void)unlink(path);
        return -1;
    }
    if (!S_ISFIFO(st.st_mode)) /* by whoever can write to the directory */
        return fail(err, RUNNER_E_EXISTS, 0, "fifo '%s': something else took this name", path);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int given_open(const struct act *a, const struct runner_fd *how, int *ret_fd, struct runner_error *err)
{
    static const int flags[] = {
        [RUNNER_FD_APPEND] = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW,
        [RUNNER_FD_READWRITE] = O_RDWR,
        [RUNNER_FD_READ] = O_RDONLY,
    };
    int fd;

    if (how->kind == RUNNER_FD_LISTEN)
        return open_listener(how->path, ret_fd, err);
    if (how->kind == RUNNER_FD_FIFO)
        return open_fifo(a->kept, how->path, ret_fd, err);
    if (how->kind == RUNNER_FD_TAP)
        return tap_dial(a->self, how->path, ret_fd, err);
    if (how->kind < RUNNER_FD_APPEND || how->kind >= ARRAY_LEN(flags))
        return fail(err, RUNNER_E_NOTSUP, 0, "spawn: descriptor kind %u is unknown", how->kind);
    fd = open(how->path, flags[how->kind] | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return fail_errno(err, errno, "open '%s'", how->path);
    *ret_fd = fd;
    return 0;
}

void given_remove(const struct runner_fd *how)
{
    if (how->kind == RUNNER_FD_LISTEN || how->kind == RUNNER_FD_FIFO)
        (void)unlink(how->path);
}
