#include "plugins/network/bridge/dns/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/cleanup.h"

static int failed(const char *what, int number)
{
    fprintf(stderr, "runner-dns: %s: %s\n", what, strerror(number));
    return -1;
}

static int drop(void)
{
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN) < 0)
        return failed("capabilities", EINVAL);
    if (capng_apply(CAPNG_SELECT_BOTH) != 0)
        return failed("give up capabilities", EPERM);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? failed("no_new_privs", errno) : 0;
}

/* As the library and libc are today; another one is answered with EPERM, which ends no process. */
static const int calls[] = {
    SCMP_SYS(accept4),         SCMP_SYS(brk),          SCMP_SYS(clock_gettime),
    SCMP_SYS(close),           SCMP_SYS(connect),      SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),       SCMP_SYS(epoll_pwait),  SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_wait),      SCMP_SYS(exit),         SCMP_SYS(exit_group),
    SCMP_SYS(fcntl),           SCMP_SYS(fstat),        SCMP_SYS(futex),
    SCMP_SYS(getpid),          SCMP_SYS(getrandom),    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),      SCMP_SYS(gettimeofday), SCMP_SYS(lseek),
    SCMP_SYS(madvise),         SCMP_SYS(mremap),       SCMP_SYS(munmap),
    SCMP_SYS(newfstatat),      SCMP_SYS(read),         SCMP_SYS(readv),
    SCMP_SYS(recvfrom),        SCMP_SYS(recvmmsg),     SCMP_SYS(recvmsg),
    SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),    SCMP_SYS(sendmsg),      SCMP_SYS(sendto),
    SCMP_SYS(setsockopt),      SCMP_SYS(shutdown),     SCMP_SYS(time),
    SCMP_SYS(write),           SCMP_SYS(writev),
};

static int add_bounded(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));

    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_INET, 0));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_INET6, 0));
    return r == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, FIONREAD, 0)) : r;
}

static int filter_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = filter != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(calls); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    if (r == 0)
        r = add_bounded(filter);
    if (r == 0)
        r = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    return r < 0 ? failed("system calls", -r) : 0;
}

#ifdef __SANITIZE_ADDRESS__
#define IS_FILTERED 0 /* the sanitizer asks for more */
#else
#define IS_FILTERED 1
#endif

int confine(const char *directory)
{
    if (chdir(directory) < 0)
        return failed(directory, errno);
    if (IS_FILTERED && chroot(".") < 0)
        return failed("chroot", errno);
    if (drop() < 0)
        return -1;
    return IS_FILTERED ? filter_calls() : 0;
}
