#include "plugins/transport/local/launch.h"

#include <errno.h>
#include <pthread.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MOVED_FD    100 /* above every number a program is given */

const char *const launch_env[] = {"PATH=" SYSTEM_PATH, "LANG=C", NULL};

struct outcome {   /* written by the child, which shares our memory */
    int sys_errno; /* of what failed */
    const char *what;
    bool in_cgroup;
    bool shares_fds; /* it has no table of descriptors of its own yet */
};

static char *find_in(const char *dirs, const char *name)
{
    while (*dirs != '\0') {
        size_t len = strcspn(dirs, ":");
        char *path = mem_printf("%.*s/%s", (int)len, dirs, name);
        struct stat st;

        if (len > 0 && dirs[0] == '/' && stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return path;
        free(path);
        dirs += len + (dirs[len] == ':');
    }
    return NULL;
}

int launch_find(const char *name, char **ret_path, struct runner_error *err)
{
    const char *dirs = getenv("PATH");
    char *path = NULL;

    if (strchr(name, '/') != NULL) {
        *ret_path = mem_dup(name);
        return 0;
    }
    if (dirs != NULL)
        path = find_in(dirs, name);
    if (path == NULL)
        path = find_in(SYSTEM_PATH, name);
    if (path == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "program '%s' is not installed (not found in PATH)", name);
    *ret_path = path;
    return 0;
}

static bool has_group(const struct launch *l, gid_t gid)
{
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->groups[i] == gid)
            return true;
    return false;
}

int launch_as(struct launch *l, const struct local *self, const struct runner_spawn *how, struct runner_error *err)
{
    const char *const *paths = RUNNER_HAS(how, groups_of) ? how->groups_of : NULL;
    struct stat st;

    l->uid = self->is_root ? how->uid : 0;
    l->gid = self->is_root ? how->gid : 0;
    for (; paths != NULL && *paths != NULL; paths++) {
        if (stat(*paths, &st) < 0 || st.st_gid == 0 || has_group(l, st.st_gid))
            continue;
        if (l->n_groups == LAUNCH_GROUPS_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "more than %d groups", LAUNCH_GROUPS_MAX);
        l->groups[l->n_groups++] = st.st_gid;
    }
    return 0;
}

int launch_input(const void *data, size_t len, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = len > 0 ? memfd_create("stdin", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t done = 0;

    if (fd < 0)
        return fail_errno(err, errno, "standard input");
    while (done < len) {
        ssize_t n = pwrite(fd, (const char *)data + done, len - done, (off_t)done);

        if (n < 0 && errno != EINTR)
            return fail_errno(err, errno, "standard input");
        done += n > 0 ? (size_t)n : 0;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

void launch_add_fd(struct launch *l, int from, int number)
{
    if (l->n_fds < LAUNCH_FDS_MAX)
        l->fds[l->n_fds++] = (struct launch_fd){.from = from, .number = number};
}

/* ---- in the child: system calls only, as it runs in the parent's memory ------------------------------------- */

/*
 * The address sanitizer would mark the stack, which is the parent's, and nobody would take the marks away; the thread
 * sanitizer would remember calls that never return. Its functions in place of libc's would take our descriptors and
 * signal handlers for the parent's: what changes those goes to the kernel directly.
 */
#define IN_CHILD __attribute__((no_sanitize_address, no_sanitize_thread))

static void child_fail(struct outcome *outcome, const char *what) __attribute__((noreturn));
static IN_CHILD void child_fail(struct outcome *outcome, const char *what)
{
    outcome->sys_errno = errno;
    outcome->what = what;
    _exit(127);
}

static IN_CHILD void child_signals(void)
{
    static const struct { /* as the kernel has it: SIG_DFL, no flags, no mask */
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } by_default = {NULL, 0, NULL, 0};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++) /* some cannot be set, and need not */
        (void)syscall(SYS_rt_sigaction, sig, &by_default, NULL, sizeof by_default.mask);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * A table of its own, with copies of no more than what it needs. Copying that of a runner of a thousand machines, and
 * closing the copies at exec, takes longer than all else here.
 */
static IN_CHILD void child_unshare_fds(const struct launch *l, struct outcome *outcome)
{
    int last = l->pid_file > l->cgroup ? l->pid_file : l->cgroup;

    for (size_t i = 0; i < l->n_fds; i++)
        last = l->fds[i].from > last ? l->fds[i].from : last;
    if (close_range((unsigned)last + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0 && unshare(CLONE_FILES) < 0)
        child_fail(outcome, "have descriptors of its own");
}

static IN_CHILD void child_fds(const struct launch *l, struct outcome *outcome)
{
    int moved[LAUNCH_FDS_MAX];

    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* for libraries that forget; before 5.11: theirs to care */
    for (size_t i = 0; i < l->n_fds; i++) {
        moved[i] = fcntl(l->fds[i].from, F_DUPFD_CLOEXEC, MOVED_FD);
        if (moved[i] < 0)
            child_fail(outcome, "copy a descriptor");
    }
    for (size_t i = 0; i < l->n_fds; i++)
        if (syscall(SYS_dup3, moved[i], l->fds[i].number, 0) < 0)
            child_fail(outcome, "place a descriptor");
}

static IN_CHILD void child_write_pid(int fd, struct outcome *outcome)
{
    char text[16];
    size_t at = sizeof text;
    pid_t pid = getpid();

    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid > 0);
    errno = EIO; /* for a short one, which has none */
    if (pwrite(fd, text + at, sizeof text - at, 0) != (ssize_t)(sizeof text - at))
        child_fail(outcome, "write the pid file");
}

/* Where clone3() cannot do it. The write is slow: the kernel waits until no thread anywhere is being started. */
static IN_CHILD void child_enter_cgroup(const struct launch *l, struct outcome *outcome)
{
    int fd = openat(l->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

    outcome->in_cgroup = fd >= 0 && write(fd, "0", 1) == 1;
    if (fd >= 0)
        (void)close(fd);
}

/* Raw calls: glibc's would change the ids of the parent's threads too. */
static IN_CHILD void child_confine(const struct launch *l, struct outcome *outcome)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

    memset(none, 0, sizeof none);
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ; /* until there is no such capability, or it is not permitted */
    if (syscall(SYS_setgroups, l->n_groups, l->groups) < 0)
        child_fail(outcome, "set the groups");
    if (syscall(SYS_setresgid, l->gid, l->gid, l->gid) < 0)
        child_fail(outcome, "set the group id");
    if (syscall(SYS_setresuid, l->uid, l->uid, l->uid) < 0)
        child_fail(outcome, "set the user id");
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) < 0) /* those that securebits let survive, and the inheritable ones */
        child_fail(outcome, "drop the capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        child_fail(outcome, "set no_new_privs");
}

static IN_CHILD void child_limits(const struct launch *l, struct outcome *outcome)
{
    struct rlimit limit = {0, 0};

    if (l->dumps_no_core && setrlimit(RLIMIT_CORE, &limit) < 0)
        child_fail(outcome, "set the limit of core files");
    if (l->nofile == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        child_fail(outcome, "read the limit of open files");
    limit.rlim_cur = l->nofile;
    if (limit.rlim_max < l->nofile)
        limit.rlim_max = l->nofile;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        child_fail(outcome, "set the limit of open files");
}

struct start {
    const struct launch *l;
    pid_t parent;
    struct outcome *outcome;
};

static void child_main(const struct start *start) __attribute__((noreturn));
static IN_CHILD void child_main(const struct start *start)
{
    const struct launch *l = start->l;
    struct outcome *outcome = start->outcome;

    if (outcome->shares_fds)
        child_unshare_fds(l, outcome);
    if (l->cgroup >= 0 && !outcome->in_cgroup)
        child_enter_cgroup(l, outcome);
    (void)setsid();
    umask(l->umask);
    if (l->pid_file >= 0)
        child_write_pid(l->pid_file, outcome);
    child_fds(l, outcome);
    child_limits(l, outcome);
    if (l->uid != 0)
        child_confine(l, outcome);
    if (l->dies_with_us) { /* a change of user forgets it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != start->parent)
            _exit(127);
    }
    if (!l->dies_with_us && chdir("/") < 0)
        child_fail(outcome, "change to '/'");
    child_signals();
    (void)execve(l->program, (char *const *)(uintptr_t)l->argv, (char *const *)(uintptr_t)l->env);
    child_fail(outcome, "execute");
}

/* ---- in the parent -------------------------------------------------------------------------------------------- */

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* held from the fork to the exec */

void launch_hold(void)
{
    pthread_mutex_lock(&starting);
}

void launch_release(void)
{
    pthread_mutex_unlock(&starting);
}

static __attribute__((noinline)) pid_t vfork_child(const struct start *start)
{
    pid_t pid = vfork();

    if (pid == 0)
        child_main(start);
    return pid;
}

/*
 * As vfork(), but sharing the descriptors too, and into the cgroup if one is given; a negative errno when it cannot be.
 * In assembler, as the child uses our stack: it must not return, nor touch what lies above, or in the 128 bytes below,
 * the stack pointer at this moment.
 */
static long clone_child(const struct start *start, int cgroup)
{
    struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES, .exit_signal = SIGCHLD};
    long r = SYS_clone3;

    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    start->outcome->in_cgroup = cgroup >= 0;
    start->outcome->shares_fds = true;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "subq $128, %%rsp\n\t"
                     "andq $-16, %%rsp\n\t"
                     "movq %[start], %%rdi\n\t"
                     "callq *%[child]\n"
                     "1:"
                     : "+a"(r)
                     : "D"(&args), "S"(sizeof args), [start] "r"(start), [child] "r"(child_main)
                     : "rcx", "r11", "memory", "cc");
    start->outcome->in_cgroup = r > 0 && cgroup >= 0;
    start->outcome->shares_fds = false;
    return r;
}

static pid_t fork_child(const struct start *start)
{
    long r = clone_child(start, start->l->cgroup);

    if (r < 0 && start->l->cgroup >= 0)
        r = clone_child(start, -1);
    return r > 0 ? (pid_t)r : vfork_child(start);
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int launch_start(const struct launch *l, struct launched *ret, struct runner_error *err)
{
    volatile struct outcome outcome = {0, NULL, false, false};
    struct start start = {.l = l, .parent = getpid(), .outcome = (struct outcome *)(uintptr_t)&outcome};
    sigset_t all, old;
    int sys_errno, pidfd;
    int dumpable = l->uid != 0 ? prctl(PR_GET_DUMPABLE) : -1;
    pid_t pid;

    sigfillset(&all); /* no handler of ours may run in the child */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    launch_hold();
    pid = fork_child(&start);
    sys_errno = errno;
    launch_release();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (dumpable == 1) /* the child's change of ids took it from the memory both share */
        (void)prctl(PR_SET_DUMPABLE, 1);
    if (pid < 0)
        return fail_errno(err, sys_errno, "start '%s'", l->program);
    if (outcome.what != NULL) {
        reap(pid);
        return fail_errno(err, outcome.sys_errno, "start '%s': %s", l->program, outcome.what);
    }
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        sys_errno = errno;
        (void)kill(pid, SIGKILL);
        reap(pid);
        return fail_errno(err, sys_errno, "start '%s': pidfd", l->program);
    }
    *ret = (struct launched){.pid = pid, .pidfd = pidfd, .in_cgroup = outcome.in_cgroup};
    return 0;
}
