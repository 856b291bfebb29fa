/* The calls by which the runner and its plugins change a host, or ask it. Each does what libc's does, unless told
 * otherwise. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t/fault/kind.h"

#pragma GCC visibility push(default)

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (real == NULL)                                                                                                  \
    real = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name)

/* kind and where are looked at only when something is to be done. bad: what the call returns when it fails. */
#define THROUGH(type, bad, name, args, kind, where)                                                                    \
    struct fault_point p;                                                                                              \
    type r;                                                                                                            \
    if (!fault_is_on() || !fault_wants(&p, name, kind))                                                                \
        return real args;                                                                                              \
    where;                                                                                                             \
    if (!fault_begin(&p))                                                                                              \
        return bad;                                                                                                    \
    r = real args;                                                                                                     \
    return fault_end(&p, r == bad) ? bad : r

#define WRAP(type, bad, name, params, args, kind, where)                                                               \
    type name params                                                                                                   \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        THROUGH(type, bad, #name, args, kind, where);                                                                  \
    }

/* Those that transfer bytes, and may transfer less: args_of names `n` for how much. */
#define WRAP_BYTES(name, params, len, args_all, args_of, kind, where)                                                  \
    ssize_t name params                                                                                                \
    {                                                                                                                  \
        struct fault_point p;                                                                                          \
        ssize_t r;                                                                                                     \
        size_t n;                                                                                                      \
        REAL(name);                                                                                                    \
        if (!fault_is_on() || !fault_wants(&p, #name, kind))                                                           \
            return real args_all;                                                                                      \
        where;                                                                                                         \
        if (!fault_begin(&p))                                                                                          \
            return -1;                                                                                                 \
        n = (size_t)fault_length(&p, len);                                                                             \
        r = real args_of;                                                                                              \
        return fault_end(&p, r < 0) ? -1 : r;                                                                          \
    }

/* ---- files ---- */

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    REAL(open);

    if (__OPEN_NEEDS_MODE(flags)) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    THROUGH(int, -1, "open", (path, flags, mode), kind_of_open(flags), fault_at(&p, AT_FDCWD, path));
}

int openat(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    REAL(openat);

    if (__OPEN_NEEDS_MODE(flags)) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    THROUGH(int, -1, "openat", (dir, path, flags, mode), kind_of_open(flags), fault_at(&p, dir, path));
}

WRAP_BYTES(write, (int fd, const void *data, size_t len), len, (fd, data, len), (fd, data, n),
           kind_of_write(fd, data, len), say_write(&p, fd, data, len))
WRAP_BYTES(pwrite, (int fd, const void *data, size_t len, off_t at), len, (fd, data, len, at), (fd, data, n, at),
           kind_of_write(fd, data, len), say_write(&p, fd, data, len))
WRAP_BYTES(read, (int fd, void *data, size_t len), len, (fd, data, len), (fd, data, n), kind_of_read(fd),
           fault_fd(&p, fd))
WRAP_BYTES(pread, (int fd, void *data, size_t len, off_t at), len, (fd, data, len, at), (fd, data, n, at), FAULT_ASK,
           fault_fd(&p, fd))
WRAP_BYTES(copy_file_range, (int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags), len,
           (from, from_at, to, to_at, len, flags), (from, from_at, to, to_at, n, flags), FAULT_CHANGE, fault_fd(&p, to))
WRAP(int, -1, fsync, (int fd), (fd), FAULT_CHANGE, fault_fd(&p, fd))
WRAP(int, -1, fdatasync, (int fd), (fd), FAULT_CHANGE, fault_fd(&p, fd))
WRAP(int, -1, ftruncate, (int fd, off_t len), (fd, len), FAULT_CHANGE, fault_fd(&p, fd))
WRAP(off_t, -1, lseek, (int fd, off_t at, int whence), (fd, at, whence), FAULT_ASK, fault_fd(&p, fd))
WRAP(int, -1, fchmod, (int fd, mode_t mode), (fd, mode), FAULT_CHANGE, fault_fd(&p, fd))
WRAP(int, -1, chmod, (const char *path, mode_t mode), (path, mode), FAULT_CHANGE, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), FAULT_CHANGE, fault_fd(&p, fd))
WRAP(int, -1, fchownat, (int dir, const char *path, uid_t uid, gid_t gid, int flags), (dir, path, uid, gid, flags),
     FAULT_CHANGE, fault_at(&p, dir, path))
WRAP(int, -1, rename, (const char *from, const char *to), (from, to), FAULT_CHANGE, fault_at(&p, AT_FDCWD, to))
WRAP(int, -1, renameat, (int from_dir, const char *from, int dir, const char *to), (from_dir, from, dir, to),
     FAULT_CHANGE, fault_at(&p, dir, to))
WRAP(int, -1, renameat2, (int from_dir, const char *from, int dir, const char *to, unsigned flags),
     (from_dir, from, dir, to, flags), FAULT_CHANGE, fault_at(&p, dir, to))
WRAP(int, -1, link, (const char *from, const char *to), (from, to), FAULT_CHANGE, fault_at(&p, AT_FDCWD, to))
WRAP(int, -1, linkat, (int from_dir, const char *from, int dir, const char *to, int flags),
     (from_dir, from, dir, to, flags), FAULT_CHANGE, fault_at(&p, dir, to))
WRAP(int, -1, unlink, (const char *path), (path), FAULT_CHANGE, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), FAULT_CHANGE,
     fault_at(&p, dir, path))
WRAP(int, -1, mkdir, (const char *path, mode_t mode), (path, mode), FAULT_CHANGE, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), FAULT_CHANGE,
     fault_at(&p, dir, path))
WRAP(int, -1, rmdir, (const char *path), (path), FAULT_CHANGE, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, mkfifo, (const char *path, mode_t mode), (path, mode), FAULT_CHANGE, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, stat, (const char *path, struct stat *st), (path, st), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, lstat, (const char *path, struct stat *st), (path, st), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, fstat, (int fd, struct stat *st), (fd, st), FAULT_ASK, fault_fd(&p, fd))
WRAP(int, -1, fstatat, (int dir, const char *path, struct stat *st, int flags), (dir, path, st, flags), FAULT_ASK,
     fault_at(&p, dir, path))
WRAP(int, -1, statvfs, (const char *path, struct statvfs *fs), (path, fs), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP(DIR *, NULL, opendir, (const char *path), (path), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP(DIR *, NULL, fdopendir, (int fd), (fd), FAULT_ASK, fault_fd(&p, fd))
WRAP(struct dirent *, NULL, readdir, (DIR * dir), (dir), FAULT_ASK, fault_fd(&p, dirfd(dir)))
WRAP(FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP_BYTES(readlink, (const char *path, char *text, size_t len), len, (path, text, len), (path, text, n), FAULT_ASK,
           fault_at(&p, AT_FDCWD, path))
WRAP_BYTES(readlinkat, (int dir, const char *path, char *text, size_t len), len, (dir, path, text, len),
           (dir, path, text, n), FAULT_ASK, fault_at(&p, dir, path))
WRAP(int, -1, flock, (int fd, int how), (fd, how), FAULT_ASK, fault_fd(&p, fd))
WRAP(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags), FAULT_ASK, (void)0)
WRAP(int, -1, pipe2, (int fds[2], int flags), (fds, flags), FAULT_ASK, (void)0)

int fcntl(int fd, int command, ...)
{
    va_list args;
    long arg;
    REAL(fcntl);

    va_start(args, command);
    arg = va_arg(args, long); /* a pointer fits as well */
    va_end(args);
    THROUGH(int, -1, "fcntl", (fd, command, arg), FAULT_ASK, fault_fd(&p, fd));
}

/* ---- interfaces and sockets ---- */

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *arg;
    REAL(ioctl);

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    THROUGH(int, -1, "ioctl", (fd, request, arg), kind_of_ioctl(request), say_ioctl(&p, request, arg));
}

WRAP(unsigned, 0, if_nametoindex, (const char *name), (name), FAULT_ASK, fault_at(&p, AT_FDCWD, name))
WRAP(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol), FAULT_ASK,
     say_number(&p, "family ", domain))
WRAP(int, -1, bind, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len),
     to->sa_family == AF_UNIX ? FAULT_CHANGE : FAULT_ASK, say_address(&p, to))
WRAP(int, -1, listen, (int fd, int backlog), (fd, backlog), FAULT_ASK, (void)0)
WRAP(int, -1, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len), FAULT_ASK,
     say_address(&p, to))
WRAP(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len), FAULT_ASK, say_number(&p, "option ", name))
WRAP(int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *len), (fd, level, name, value, len),
     FAULT_ASK, say_number(&p, "option ", name))
WRAP_BYTES(send, (int fd, const void *data, size_t len, int flags), len, (fd, data, len, flags), (fd, data, n, flags),
           kind_of_saying(data, len), fault_text(&p, data, len))
WRAP_BYTES(sendto, (int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len), len,
           (fd, data, len, flags, to, to_len), (fd, data, n, flags, to, to_len), kind_of_netlink(data, len),
           say_netlink(&p, data, len))
WRAP(ssize_t, -1, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     kind_of_saying(message->msg_iov[0].iov_base, message->msg_iov[0].iov_len),
     fault_text(&p, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len))
WRAP(ssize_t, -1, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), FAULT_WAIT, (void)0)
WRAP_BYTES(recv, (int fd, void *data, size_t len, int flags), len, (fd, data, len, flags), (fd, data, n, flags),
           FAULT_WAIT, (void)0)

/* ---- waiting ---- */

WRAP(int, -1, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms), ms == 0 ? FAULT_ASK : FAULT_WAIT,
     say_number(&p, "ms ", ms))
WRAP(int, -1, epoll_create1, (int flags), (flags), FAULT_ASK, (void)0)
WRAP(int, -1, epoll_ctl, (int epoll, int how, int fd, struct epoll_event *event), (epoll, how, fd, event), FAULT_ASK,
     fault_fd(&p, fd))
WRAP(int, -1, epoll_wait, (int epoll, struct epoll_event *events, int n, int ms), (epoll, events, n, ms),
     ms == 0 ? FAULT_ASK : FAULT_WAIT, say_number(&p, "ms ", ms))
WRAP(int, -1, eventfd, (unsigned value, int flags), (value, flags), FAULT_ASK, (void)0)
WRAP(int, -1, timerfd_create, (int clock, int flags), (clock, flags), FAULT_ASK, (void)0)
WRAP(int, -1, timerfd_settime, (int fd, int flags, const struct itimerspec *at, struct itimerspec *ret_old),
     (fd, flags, at, ret_old), FAULT_ASK, (void)0)
WRAP(int, -1, inotify_init1, (int flags), (flags), FAULT_ASK, (void)0)
WRAP(int, -1, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask), FAULT_ASK,
     fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, inotify_rm_watch, (int fd, int watch), (fd, watch), FAULT_ASK, (void)0)
WRAP(ssize_t, -1, getrandom, (void *data, size_t len, unsigned flags), (data, len, flags), FAULT_ASK, (void)0)

/* ---- processes ---- */

WRAP(int, -1, pidfd_open, (pid_t pid, unsigned flags), (pid, flags), FAULT_ASK, say_number(&p, "pid ", pid))
WRAP(int, -1, pidfd_send_signal, (int fd, int number, siginfo_t *info, unsigned flags), (fd, number, info, flags),
     FAULT_CHANGE, say_number(&p, "signal ", number))
WRAP(int, -1, kill, (pid_t pid, int number), (pid, number), FAULT_CHANGE, say_number(&p, "signal ", number))
WRAP(int, -1, waitid, (idtype_t type, id_t id, siginfo_t *info, int options), (type, id, info, options),
     options &WNOHANG ? FAULT_ASK : FAULT_WAIT, (void)0)
WRAP(pid_t, -1, waitpid, (pid_t pid, int *status, int options), (pid, status, options),
     options &WNOHANG ? FAULT_ASK : FAULT_WAIT, (void)0)
WRAP(int, -1, execve, (const char *path, char *const *argv, char *const *env), (path, argv, env), FAULT_CHANGE,
     fault_at(&p, AT_FDCWD, path))
WRAP(pid_t, -1, setsid, (void), (), FAULT_ASK, (void)0)
WRAP(int, -1, unshare, (int what), (what), FAULT_ASK, say_number(&p, "", what))
WRAP(int, -1, chdir, (const char *path), (path), FAULT_ASK, fault_at(&p, AT_FDCWD, path))
WRAP(int, -1, dup2, (int from, int to), (from, to), FAULT_ASK, say_number(&p, "to ", to))
WRAP(int, -1, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), (what, limit), FAULT_ASK,
     say_number(&p, "limit ", (long)what))
WRAP(int, -1, getrlimit, (__rlimit_resource_t what, struct rlimit *limit), (what, limit), FAULT_ASK,
     say_number(&p, "limit ", (long)what))
WRAP(int, -1, close_range, (unsigned first, unsigned last, int flags), (first, last, flags), FAULT_ASK, (void)0)

int prctl(int option, ...)
{
    unsigned long a[4];
    va_list args;
    REAL(prctl);

    va_start(args, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(args, unsigned long);
    va_end(args);
    THROUGH(int, -1, "prctl", (option, a[0], a[1], a[2], a[3]), FAULT_ASK, say_number(&p, "option ", option));
}

static const char *syscall_name(long number)
{
    switch (number) {
    case SYS_openat2:
        return "openat2";
    case SYS_setgroups:
        return "setgroups";
    case SYS_setresgid:
        return "setresgid";
    case SYS_setresuid:
        return "setresuid";
    case SYS_capset:
        return "capset";
    default:
        return "syscall";
    }
}

long syscall(long number, ...)
{
    long a[6];
    va_list args;
    REAL(syscall);

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    THROUGH(long, -1, syscall_name(number), (number, a[0], a[1], a[2], a[3], a[4], a[5]), FAULT_ASK,
            say_number(&p, "number ", number));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    struct fault_point p;
    REAL(pthread_create);

    if (!fault_is_on() || !fault_wants(&p, "pthread_create", FAULT_ASK))
        return real(thread, attr, run, arg);
    if (!fault_begin(&p))
        return errno;
    errno = real(thread, attr, run, arg);
    return fault_end(&p, errno != 0) ? errno : 0;
}

/* ---- memory: through names of libc's own, since dlsym() needs some itself ---- */

#ifndef FAULT_NO_MEMORY /* the address sanitizer has a heap of its own */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    static void *(*const real)(size_t) = __libc_malloc;
    THROUGH(void *, NULL, "malloc", (size), FAULT_MEMORY, say_number(&p, "bytes ", (long)size));
}

void *calloc(size_t n, size_t size)
{
    static void *(*const real)(size_t, size_t) = __libc_calloc;
    THROUGH(void *, NULL, "calloc", (n, size), FAULT_MEMORY, say_number(&p, "bytes ", (long)(n * size)));
}

void *realloc(void *old, size_t size)
{
    static void *(*const real)(void *, size_t) = __libc_realloc;
    THROUGH(void *, NULL, "realloc", (old, size), FAULT_MEMORY, say_number(&p, "bytes ", (long)size));
}
#endif

/* ---- vfork ---- */

__attribute__((visibility("hidden"))) void *fault_vfork(void);

/* It returns twice, on one stack: nothing of ours may be on it then. NULL: it is not to be made. */
__attribute__((used)) void *fault_vfork(void)
{
    struct fault_point p;
    REAL(vfork);

    if (!fault_is_on() || !fault_wants(&p, "vfork", FAULT_ASK))
        return (void *)(uintptr_t)real;
    return fault_begin(&p) ? (void *)(uintptr_t)real : NULL;
}

#ifdef __x86_64__
__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        "vfork:\n"
        "    subq $8, %rsp\n"
        "    call fault_vfork\n"
        "    addq $8, %rsp\n"
        "    testq %rax, %rax\n"
        "    jz 1f\n"
        "    jmp *%rax\n"
        "1:  movq $-1, %rax\n"
        "    ret\n"
        ".size vfork, . - vfork\n");
#endif
