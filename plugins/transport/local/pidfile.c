#include "plugins/transport/local/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "core/util/num.h"
#include "plugins/transport/local/path.h"

#define TRIES    32
#define COPY_MS  2
#define COPY_MAX 5000 /* milliseconds: on a busy machine a process being started may stand still for a while */
#define TEXT_MAX 128
#define BOOT_ID  36

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether path still names the file that both have open: another may have removed and made it anew before we had the
 * lock. */
static bool is_still(const char *path, int fd, int writer, off_t *ret_size)
{
    struct stat locked, written, named;

    if (fstat(fd, &locked) < 0 || fstat(writer, &written) < 0 || lstat(path, &named) < 0)
        return false;
    *ret_size = locked.st_size;
    return is_same(&locked, &named) && is_same(&written, &named);
}

static bool is_locked(struct local *self, int fd)
{
    bool is_free;

    pthread_mutex_lock(&self->lock);
    is_free = flock(fd, LOCK_SH | LOCK_NB) == 0;
    if (is_free) /* by hand: a process being started may have a copy of fd for a moment */
        (void)flock(fd, LOCK_UN);
    pthread_mutex_unlock(&self->lock);
    return !is_free;
}

/* 0 when it holds no pid. */
static pid_t read_pid(int fd)
{
    char text[32];
    int64_t pid;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return num_int(text, 1, INT32_MAX, &pid) ? (pid_t)pid : 0;
}

/* ---- processes that were adopted: "PID\nstarted TICKS BOOT_ID\n" ---- */

struct birth {                /* of a process; no other has the same, and its number */
    unsigned long long ticks; /* after the boot, proc_pid_stat(5) */
    char boot_id[BOOT_ID + 1];
};

static size_t read_text(const char *path, char *ret, size_t size)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, ret, size - 1) : -1;

    ret[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* False: it has ended, though its parent may not have asked how yet. */
static bool read_birth(pid_t pid, struct birth *ret)
{
    char path[64], text[1024];
    const char *rest;
    char state;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_text(path, text, sizeof text) == 0)
        return false;
    rest = strrchr(text, ')'); /* its name may have any bytes */
    if (rest == NULL ||
        sscanf(rest + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state,
               &ret->ticks) != 2)
        return false;
    if (state == 'Z' || state == 'X')
        return false;
    return read_text("/proc/sys/kernel/random/boot_id", ret->boot_id, sizeof ret->boot_id) == BOOT_ID;
}

/* Whether the pid file is that of an adopted process. */
static bool read_adopted(int fd, pid_t *ret_pid, struct birth *ret)
{
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return false;
    text[n] = '\0';
    return sscanf(text, "%d\nstarted %llu %36s", ret_pid, &ret->ticks, ret->boot_id) == 3 && *ret_pid > 0;
}

/* As pidfile_find(). The number cannot change hands while there is a pidfd: who has it then and was born at that time
 * has had it all along. */
static int find_adopted(int fd, pid_t *ret_pid, int *ret_pidfd, struct runner_error *err)
{
    struct birth written, found;
    auto_close int pidfd = -1;
    pid_t pid;

    if (!read_adopted(fd, &pid, &written))
        return 1;
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return errno == ESRCH ? 1 : fail_errno(err, errno, "process %d", (int)pid);
    if (!read_birth(pid, &found) || found.ticks != written.ticks || strcmp(found.boot_id, written.boot_id) != 0)
        return 1;
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    pidfd = -1;
    return 0;
}

int pidfile_adopt(const char *path, pid_t pid, struct runner_error *err)
{
    auto_draft struct draft d = DRAFT_INIT;
    char text[TEXT_MAX];
    struct birth birth;
    int len;

    if (!read_birth(pid, &birth))
        return fail(err, RUNNER_E_INVALID, 0, "process %d has ended", (int)pid);
    len = snprintf(text, sizeof text, "%d\nstarted %llu %s\n", (int)pid, birth.ticks, birth.boot_id);
    if (draft_open(NULL, path, 0600, &d, err) < 0)
        return error_wrap(err, "pid file '%s'", path);
    if (write(d.fd, text, (size_t)len) != len)
        return fail_errno(err, errno, "pid file '%s'", path);
    return draft_publish(&d, false, false, err) < 0 ? error_wrap(err, "pid file '%s'", path) : 0;
}

/* ---- processes that hold the lock ---- */

/* A helper that the process left behind may hold the lock, and the number may be another's by now: the process proper
 * has the pid file at its known descriptor. Not allowed to look, or not able to: the lock has to do, as a machine that
 * runs must not be taken for a dead one. */
static bool holds_file(pid_t pid, int fd)
{
    char path[64];
    struct stat held, file;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, PIDFILE_FD);
    if (stat(path, &held) < 0)
        return errno != ENOENT && errno != ESRCH;
    return fstat(fd, &file) < 0 || is_same(&held, &file);
}

int pidfile_find(struct local *self, const char *path, pid_t *ret_pid, int *ret_pidfd, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 1 : fail_errno(err, errno, "pid file '%s'", path);
    for (int i = 0; i < TRIES; i++) {
        pid_t pid = read_pid(fd);
        auto_close int pidfd = pid != 0 ? pidfd_open(pid, 0) : -1;
        int sys_errno = errno;

        if (!is_locked(self, fd))
            return find_adopted(fd, ret_pid, ret_pidfd, err);
        if (pid == 0 || read_pid(fd) != pid) /* it is being started at this moment */
            continue;
        if (pidfd < 0)
            return sys_errno == ESRCH ? 1 : fail_errno(err, sys_errno, "process %d of '%s'", (int)pid, path);
        if (!holds_file(pid, fd))
            return 1;
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        pidfd = -1;
        return 0;
    }
    fail(err, RUNNER_E_BUSY, 0, "pid file '%s': locked, but it names no process", path);
    if (err != NULL)
        err->retry = 1;
    return -1;
}

/* moved: the path names another file by now; adopted: its process needs no lock */
enum { LOCK_GOT, LOCK_HELD, LOCK_MOVED, LOCK_ADOPTED };

static bool is_adopted(int fd)
{
    auto_close int pidfd = -1;
    pid_t pid;

    return find_adopted(fd, &pid, &pidfd, NULL) == 0;
}

static int lock_alone(struct local *self, int fd)
{
    int r, sys_errno;

    pthread_mutex_lock(&self->lock); /* against our own tests of the lock */
    r = flock(fd, LOCK_EX | LOCK_NB);
    sys_errno = errno;
    pthread_mutex_unlock(&self->lock);
    errno = sys_errno;
    return r;
}

/* Where nothing can be yet, and nobody else can be at it. */
static int make_lock(const struct act *a, const char *path, struct pidfile *ret, struct runner_error *err)
{
    const char *name;
    int dir = kept_at(a->kept, path, &name);
    auto_close int fd = openat(dir, name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), writer = -1;

    if (fd < 0)
        return fail_errno(err, errno, "pid file '%s'", path);
    writer = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (writer < 0 || lock_alone(a->self, fd) < 0)
        return fail_errno(err, errno, "lock pid file '%s'", path);
    *ret = (struct pidfile){.lock = fd, .writer = writer};
    fd = writer = -1;
    return 0;
}

static int try_lock(struct local *self, const char *path, struct pidfile *ret, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600), writer = -1;
    off_t size;

    if (fd < 0)
        return fail_errno(err, errno, "pid file '%s'", path);
    if (lock_alone(self, fd) < 0)
        return errno == EWOULDBLOCK ? LOCK_HELD : fail_errno(err, errno, "lock pid file '%s'", path);
    writer = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (writer < 0 && errno != ENOENT)
        return fail_errno(err, errno, "pid file '%s'", path);
    if (writer < 0 || !is_still(path, fd, writer, &size))
        return LOCK_MOVED;
    if (size > 0 && is_adopted(fd))
        return LOCK_ADOPTED;
    if (size > 0 && ftruncate(writer, 0) < 0)
        return fail_errno(err, errno, "pid file '%s'", path);
    *ret = (struct pidfile){.lock = fd, .writer = writer};
    fd = writer = -1;
    return LOCK_GOT;
}

int pidfile_lock(const struct act *a, const char *path, struct pidfile *ret, struct runner_error *err)
{
    int64_t end = num_now_ms() + COPY_MAX;

    if (kept_lacks(a->kept, path))
        return make_lock(a, path, ret, err);
    do {
        auto_close int pidfd = -1;
        pid_t pid;
        int r = try_lock(a->self, path, ret, err);

        if (r == LOCK_GOT || r < 0)
            return r;
        if (r == LOCK_MOVED)
            continue;
        if (pidfile_find(a->self, path, &pid, &pidfd, NULL) == 0) /* adopted, or with the lock */
            return fail(err, RUNNER_E_BUSY, 0, "pid file '%s': process %d still runs", path, (int)pid);
        /* Held, but by no process of this file: a program that another thread is starting has copies of our descriptors
         * until its exec, and there is no event for that. */
        if (act_wait(a, -1, 0, COPY_MS) < 0)
            return fail_errno(err, errno, "pid file '%s'", path);
    } while (num_now_ms() < end);
    return fail(err, RUNNER_E_BUSY, 0, "pid file '%s' stays locked", path);
}
