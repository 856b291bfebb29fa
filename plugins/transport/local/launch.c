#include "plugins/transport/local/launch.h"

#include <errno.h>
#include <pthread.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MOVED_FD    100 /* above every number a program is given */

const char *const launch_env[] = {"PATH=" SYSTEM_PATH, "LANG=C", NULL};

struct failure { /* written by the child: vfork shares the memory */
    int sys_errno;
    const char *what;
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

void launch_add_fd(struct launch *l, int from, int number)
{
    if (l->n_fds < LAUNCH_FDS_MAX)
        l->fds[l->n_fds++] = (struct launch_fd){.from = from, .number = number};
}

/* ---- in the child: system calls only, as it runs in the parent's memory ------------------------------------- */

static void child_fail(struct failure *failure, const char *what) __attribute__((noreturn));
static void child_fail(struct failure *failure, const char *what)
{
    failure->sys_errno = errno;
    failure->what = what;
    _exit(127);
}

static void child_signals(void)
{
    struct sigaction action;
    sigset_t none;

    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, &action, NULL); /* some cannot be set, and need not */
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_fds(const struct launch *l, struct failure *failure)
{
    int moved[LAUNCH_FDS_MAX];

    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* for libraries that forget; before 5.11: theirs to care */
    for (size_t i = 0; i < l->n_fds; i++) {
        moved[i] = fcntl(l->fds[i].from, F_DUPFD_CLOEXEC, MOVED_FD);
        if (moved[i] < 0)
            child_fail(failure, "copy a descriptor");
    }
    for (size_t i = 0; i < l->n_fds; i++)
        if (dup2(moved[i], l->fds[i].number) < 0)
            child_fail(failure, "place a descriptor");
}

static void child_write_pid(int fd, struct failure *failure)
{
    char text[16];
    size_t at = sizeof text;
    pid_t pid = getpid();

    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid > 0);
    if (pwrite(fd, text + at, sizeof text - at, 0) != (ssize_t)(sizeof text - at))
        child_fail(failure, "write the pid file");
}

/* Raw calls: glibc's would change the ids of the parent's threads too. */
static void child_ids(const struct launch *l, struct failure *failure)
{
    if (l->gid != 0 && syscall(SYS_setgroups, 1UL, &l->gid) < 0)
        child_fail(failure, "set the groups");
    if (l->gid != 0 && syscall(SYS_setresgid, l->gid, l->gid, l->gid) < 0)
        child_fail(failure, "set the group id");
    if (l->uid != 0 && l->gid == 0 && syscall(SYS_setgroups, 0UL, NULL) < 0)
        child_fail(failure, "drop the groups");
    if (l->uid != 0 && syscall(SYS_setresuid, l->uid, l->uid, l->uid) < 0)
        child_fail(failure, "set the user id");
}

static void child_limits(const struct launch *l, struct failure *failure)
{
    struct rlimit limit;

    if (l->nofile == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        child_fail(failure, "read the limit of open files");
    limit.rlim_cur = l->nofile;
    if (limit.rlim_max < l->nofile)
        limit.rlim_max = l->nofile;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        child_fail(failure, "set the limit of open files");
}

static void child_main(const struct launch *l, pid_t parent, struct failure *failure) __attribute__((noreturn));
static void child_main(const struct launch *l, pid_t parent, struct failure *failure)
{
    (void)setsid();
    if (l->dies_with_us) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
    }
    umask(l->umask);
    if (l->pid_file >= 0)
        child_write_pid(l->pid_file, failure);
    child_fds(l, failure);
    child_limits(l, failure);
    child_ids(l, failure);
    if (!l->dies_with_us && chdir("/") < 0)
        child_fail(failure, "change to '/'");
    child_signals();
    (void)execve(l->program, (char *const *)(uintptr_t)l->argv, (char *const *)(uintptr_t)l->env);
    child_fail(failure, "execute");
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

static __attribute__((noinline)) pid_t fork_child(const struct launch *l, struct failure *failure)
{
    pid_t parent = getpid();
    pid_t pid = vfork();

    if (pid == 0)
        child_main(l, parent, failure);
    return pid;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int launch_start(const struct launch *l, pid_t *ret_pid, int *ret_pidfd, struct runner_error *err)
{
    volatile struct failure failure = {0, NULL};
    sigset_t all, old;
    int sys_errno, pidfd;
    int dumpable = l->uid != 0 ? prctl(PR_GET_DUMPABLE) : -1;
    pid_t pid;

    sigfillset(&all); /* no handler of ours may run in the child */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    launch_hold();
    pid = fork_child(l, (struct failure *)(uintptr_t)&failure);
    sys_errno = errno;
    launch_release();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (dumpable == 1) /* the child's change of ids took it from the memory both share */
        (void)prctl(PR_SET_DUMPABLE, 1);
    if (pid < 0)
        return fail_errno(err, sys_errno, "start '%s'", l->program);
    if (failure.what != NULL) {
        reap(pid);
        return fail_errno(err, failure.sys_errno, "start '%s': %s", l->program, failure.what);
    }
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        sys_errno = errno;
        (void)kill(pid, SIGKILL);
        reap(pid);
        return fail_errno(err, sys_errno, "start '%s': pidfd", l->program);
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}
