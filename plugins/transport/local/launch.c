#include "plugins/transport/local/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "plugins/transport/local/launch-child.h"

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

uint64_t launch_ignored;

/* By the call itself: libc keeps two signals to itself, which its posix_spawn() has ignored in what it starts. */
void launch_load(void)
{
    struct { /* as the kernel has it */
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action;

    launch_ignored = UINT64_C(1) << (SIGPIPE - 1);
    for (int sig = 1; sig < NSIG; sig++)
        if (syscall(SYS_rt_sigaction, sig, NULL, &action, sizeof action.mask) == 0 && action.handler == SIG_IGN)
            launch_ignored |= UINT64_C(1) << (sig - 1);
}

const char *const launch_env[] = {"PATH=" SYSTEM_PATH, "LANG=C", NULL};

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

/* ---- children on their way --------------------------------------------------------------------------------------- */

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* at each fork */
static struct launching *on_their_way;                       /* guarded by it */
static int dumpable;                                         /* ours, as it was before the first of them */

/* The kernel wakes only one when the child is done. */
static void await_child(struct launching *way, int progress)
{
    bool has_waited = false;
    int seen;

    while ((seen = atomic_load(&way->progress)) > progress) {
        (void)syscall(SYS_futex, &way->progress, FUTEX_WAIT, seen, NULL, NULL, 0);
        has_waited = true;
    }
    if (has_waited)
        (void)syscall(SYS_futex, &way->progress, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void launch_hold(void)
{
    pthread_mutex_lock(&starting);
    for (struct launching *way = on_their_way; way != NULL; way = way->next)
        await_child(way, CHILD_IS_APART);
}

void launch_release(void)
{
    pthread_mutex_unlock(&starting);
}

static void link_way(struct launching *way)
{
    if (on_their_way == NULL)
        dumpable = prctl(PR_GET_DUMPABLE);
    way->next = on_their_way;
    on_their_way = way;
}

static void unlink_way(struct launching *way)
{
    struct launching **link = &on_their_way;

    while (*link != way)
        link = &(*link)->next;
    *link = way->next;
    if (on_their_way == NULL && dumpable == 1) /* a child's change of ids took it from the memory that it shared */
        (void)prctl(PR_SET_DUMPABLE, 1);
}

static void launch_free(struct launching *way)
{
    pthread_mutex_lock(&starting);
    unlink_way(way);
    pthread_mutex_unlock(&starting);
    free(way);
}

/* ---- the fork ---------------------------------------------------------------------------------------------------- */

/* It ends, or has its program, before we go on. */
static __attribute__((noinline)) pid_t vfork_child(struct launching *way)
{
    pid_t pid = vfork();

    if (pid == 0)
        launch_child(way);
    return pid;
}

/*
 * A child that has our memory, and our descriptors until it has copied those that it needs, on a stack of its own; in the
 * cgroup, if one is given. The process id, or a negative errno when it cannot be. In assembler, as nothing of ours is on
 * that stack.
 */
static long clone_child(struct launching *way, int cgroup)
{
    struct clone_args args = {.flags =
                                  CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND,
                              .exit_signal = SIGCHLD,
                              .pidfd = (uint64_t)(uintptr_t)&way->pidfd,
                              .child_tid = (uint64_t)(uintptr_t)&way->progress,
                              .stack = (uint64_t)(uintptr_t)way->stack,
                              .stack_size = sizeof way->stack};
    long r = SYS_clone3;

    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    way->is_born_in_cgroup = cgroup >= 0;
    way->is_cloned = true;
    atomic_store(&way->progress, CHILD_HAS_COPIES);
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movq %[way], %%rdi\n\t"
                     "callq *%[child]\n"
                     "1:"
                     : "+a"(r)
                     : "D"(&args), "S"(sizeof args), [way] "r"(way), [child] "r"(launch_child)
                     : "rcx", "r11", "memory", "cc");
    if (r < 0) {
        way->is_born_in_cgroup = way->is_cloned = false;
        atomic_store(&way->progress, CHILD_IS_DONE);
    }
    return r;
}

static pid_t fork_child(struct launching *way)
{
    long r = clone_child(way, way->l->cgroup);

    if (r < 0 && way->l->cgroup >= 0)
        r = clone_child(way, -1);
    if (r < 0) {
        r = vfork_child(way);
        way->pidfd = r > 0 ? pidfd_open((pid_t)r, 0) : -1;
        if (way->pidfd < 0)
            way->pidfd = -errno;
    }
    return (pid_t)r;
}

int launch_begin(const struct launch *l, struct launching **ret, struct runner_error *err)
{
    struct launching *way = mem_alloc(sizeof *way);
    sigset_t all, old;
    int sys_errno;

    way->l = l;
    way->parent = getpid();
    way->pidfd = -1;
    sigfillset(&all); /* no handler of ours may run in the child */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_mutex_lock(&starting);
    link_way(way);
    way->pid = fork_child(way);
    sys_errno = errno;
    pthread_mutex_unlock(&starting);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (way->pid < 0) {
        launch_free(way);
        return fail_errno(err, sys_errno, "start '%s'", l->program);
    }
    *ret = way;
    return 0;
}

/* ---- its exec ---------------------------------------------------------------------------------------------------- */

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int judge(struct launching *way, struct launched *ret, struct runner_error *err)
{
    auto_close int pidfd = way->pidfd;

    await_child(way, CHILD_IS_DONE);
    if (way->what != NULL) {
        reap(way->pid);
        return fail_errno(err, way->sys_errno, "start '%s': %s", way->l->program, way->what);
    }
    if (pidfd < 0) {
        (void)kill(way->pid, SIGKILL);
        reap(way->pid);
        return fail_errno(err, -pidfd, "start '%s': pidfd", way->l->program);
    }
    *ret = (struct launched){
        .pid = way->pid, .pidfd = pidfd, .in_cgroup = way->is_born_in_cgroup || way->has_entered_cgroup};
    pidfd = -1;
    return 0;
}

int launch_end(struct launching *way, struct launched *ret, struct runner_error *err)
{
    int status = judge(way, ret, err);

    launch_free(way);
    return status;
}

int launch_start(const struct launch *l, struct launched *ret, struct runner_error *err)
{
    struct launching *way;

    return launch_begin(l, &way, err) < 0 ? -1 : launch_end(way, ret, err);
}
