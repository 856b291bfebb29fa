/*
 * In the child. It has the parent's memory, its thread-local variables too, and the parent goes on meanwhile: so system calls
 * only, and none by libc's functions, which set errno.
 */
#include "plugins/transport/local/launch-child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define MOVED_FD 100 /* above every number a program is given */

/* The address sanitizer would mark the stack, and nobody would take the marks away; the thread sanitizer would remember
 * calls that never return. */
#define IN_CHILD __attribute__((no_sanitize_address, no_sanitize_thread))

/* A system call: its result, or a negative errno. */
#define SYS(name, a, b, c, d) sys(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d))

static IN_CHILD long sys(long number, long a, long b, long c, long d)
{
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = 0;
    long r = number;

    __asm__ volatile("syscall"
                     : "+a"(r)
                     : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory", "cc");
    return r;
}

static void die(struct launching *way, long r, const char *what) __attribute__((noreturn));
static IN_CHILD void die(struct launching *way, long r, const char *what)
{
    way->sys_errno = (int)-r;
    way->what = what;
    for (;;)
        (void)SYS(exit_group, 127, 0, 0, 0);
}

static IN_CHILD long must(struct launching *way, long r, const char *what)
{
    if (r < 0)
        die(way, r, what);
    return r;
}

/* What is ignored stays so over clone3() and exec; handlers do not. */
static IN_CHILD void reset_signals(const struct launching *way)
{
    static const struct { /* as the kernel has it: SIG_DFL, no flags, no mask */
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } by_default = {NULL, 0, NULL, 0};
    static const uint64_t none = 0;

    for (int sig = 1; sig < NSIG; sig++) /* some cannot be set, and need not */
        if (!way->is_cloned || (launch_ignored & UINT64_C(1) << (sig - 1)))
            (void)SYS(rt_sigaction, sig, &by_default, NULL, sizeof by_default.mask);
    (void)SYS(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

/*
 * A table of its own, with copies of no more than what it needs. Copying that of a runner of a thousand machines, and
 * closing the copies at exec, takes longer than all else here. Returns a number from which on all are free.
 */
static IN_CHILD int unshare_fds(struct launching *way)
{
    const struct launch *l = way->l;
    int last = l->pid_file > l->cgroup ? l->pid_file : l->cgroup;

    for (size_t i = 0; i < l->n_fds; i++)
        last = l->fds[i].from > last ? l->fds[i].from : last;
    if (SYS(close_range, last + 1, ~0U, CLOSE_RANGE_UNSHARE, 0) == 0)
        return last + 1;
    (void)must(way, SYS(unshare, CLONE_FILES, 0, 0, 0), "have descriptors of its own");
    return 0;
}

static IN_CHILD void tell_apart(struct launching *way)
{
    atomic_store(&way->progress, CHILD_IS_APART);
    (void)SYS(futex, &way->progress, FUTEX_WAKE, INT_MAX, NULL);
}

/* What else it has a copy of is closed, O_CLOEXEC or not. From free_from on all numbers are free; 0: that is not known, and
 * other copies go at the exec. */
static IN_CHILD void place_fds(struct launching *way, int free_from)
{
    const struct launch *l = way->l;
    int first = free_from > MOVED_FD ? free_from : MOVED_FD;
    long moved[LAUNCH_FDS_MAX];

    for (size_t i = 0; i < l->n_fds; i++)
        moved[i] = must(way, SYS(fcntl, l->fds[i].from, F_DUPFD_CLOEXEC, first, 0), "copy a descriptor");
    if (free_from > 0 && SYS(close_range, 3, first - 1, 0, 0) == 0)
        tell_apart(way);
    else
        (void)SYS(close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC, 0); /* before 5.11: theirs to care who forget */
    for (size_t i = 0; i < l->n_fds; i++)
        (void)must(way, SYS(dup3, moved[i], l->fds[i].number, 0, 0), "place a descriptor");
}

static IN_CHILD void write_pid(struct launching *way)
{
    char text[16];
    size_t at = sizeof text;
    long pid = SYS(getpid, 0, 0, 0, 0), n;

    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid > 0);
    n = SYS(pwrite64, way->l->pid_file, text + at, sizeof text - at, 0);
    if (n != (long)(sizeof text - at))
        die(way, n < 0 ? n : -EIO, "write the pid file");
}

/* Where clone3() cannot do it. The write is slow: the kernel waits until no thread anywhere is being started. */
static IN_CHILD void enter_cgroup(struct launching *way)
{
    long fd = SYS(openat, way->l->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);

    way->has_entered_cgroup = fd >= 0 && SYS(write, fd, "0", 1, 0) == 1;
    if (fd >= 0)
        (void)SYS(close, fd, 0, 0, 0);
}

/*
 * Who has a queue of a TAP may change the interface's MAC address by it, without any capability; and a bridge then believes
 * another guest to be there, and takes its frames from it. No program that we start needs to. By each way in which a call
 * can be made: ioctl() has another number for x32 (whose numbers have a bit more), and for a program of 32 bits.
 */
#define X32_BIT                    0x40000000
#define FIELD(member)              BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define IF(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)

static const struct sock_filter no_new_mac[] = {
    FIELD(arch),
    IF(AUDIT_ARCH_X86_64, 0, 4),
    FIELD(nr),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)X32_BIT),
    IF(16, 4, 0),
    IF(514, 3, 5),
    IF(AUDIT_ARCH_I386, 0, 4),
    FIELD(nr),
    IF(54, 0, 2),
    FIELD(args[1]), /* its lower half, which is all that the kernel looks at */
    IF(SIOCSIFHWADDR, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

/* Where the kernel has no such filters, what it prevents is put right later: network/bridge looks for it. */
static IN_CHILD void keep_macs(void)
{
    const struct sock_fprog filter = {ARRAY_LEN(no_new_mac), (struct sock_filter *)(uintptr_t)no_new_mac};

    (void)SYS(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0);
}

static IN_CHILD void confine(struct launching *way)
{
    static const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct launch *l = way->l;

    for (long cap = 0; SYS(prctl, PR_CAPBSET_DROP, cap, 0, 0) == 0; cap++)
        ; /* until there is no such capability, or it is not permitted */
    (void)must(way, SYS(setgroups, l->n_groups, l->groups, 0, 0), "set the groups");
    (void)must(way, SYS(setresgid, l->gid, l->gid, l->gid, 0), "set the group id");
    (void)must(way, SYS(setresuid, l->uid, l->uid, l->uid, 0), "set the user id");
    (void)SYS(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0);
    /* Those that securebits let survive, and the inheritable ones. */
    (void)must(way, SYS(capset, &header, none, 0, 0), "drop the capabilities");
    (void)must(way, SYS(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0), "set no_new_privs");
    keep_macs();
}

static IN_CHILD void set_limits(struct launching *way)
{
    const struct launch *l = way->l;
    struct rlimit limit = {0, 0};

    if (l->dumps_no_core)
        (void)must(way, SYS(prlimit64, 0, RLIMIT_CORE, &limit, NULL), "set the limit of core files");
    if (l->nofile == 0)
        return;
    (void)must(way, SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit), "read the limit of open files");
    limit.rlim_cur = l->nofile;
    if (limit.rlim_max < l->nofile)
        limit.rlim_max = l->nofile;
    (void)must(way, SYS(prlimit64, 0, RLIMIT_NOFILE, &limit, NULL), "set the limit of open files");
}

IN_CHILD void launch_child(struct launching *way)
{
    const struct launch *l = way->l;
    int free_from = way->is_cloned ? unshare_fds(way) : 0;

    if (l->cgroup >= 0 && !way->is_born_in_cgroup)
        enter_cgroup(way);
    if (l->pid_file >= 0)
        write_pid(way);
    place_fds(way, free_from);
    (void)SYS(setsid, 0, 0, 0, 0);
    (void)SYS(umask, l->umask, 0, 0, 0);
    set_limits(way);
    if (l->uid != 0)
        confine(way);
    if (l->dies_with_us) { /* a change of user forgets it */
        (void)SYS(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
        if (SYS(getppid, 0, 0, 0, 0) != way->parent)
            die(way, -ESRCH, "find its parent");
    } else {
        (void)must(way, SYS(chdir, "/", 0, 0, 0), "change to '/'");
    }
    reset_signals(way);
    die(way, SYS(execve, l->program, l->argv, l->env, 0), "execute");
}
