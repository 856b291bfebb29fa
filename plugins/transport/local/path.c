#include "plugins/transport/local/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The last slash of "/a/b/c", or NULL with err filled. */
static const char *name_at(const char *text, struct runner_error *err)
{
    const char *slash = strrchr(text, '/');

    if (slash != NULL && slash[1] != '\0' && strcmp(slash, "/.") != 0 && strcmp(slash, "/..") != 0)
        return slash;
    fail(err, RUNNER_E_INVALID, 0, "path '%s' names no file", text);
    return NULL;
}

/* The caller frees. */
static char *parent_of(const char *text, const char *slash)
{
    return slash == text ? mem_dup("/") : mem_dup_n(text, (size_t)(slash - text));
}

int path_open(struct kept *kept, const char *text, struct path *ret, struct runner_error *err)
{
    const char *slash = name_at(text, err), *name;
    auto_free char *parent = NULL;
    int dir;

    if (slash == NULL)
        return -1;
    dir = kept_at(kept, text, &name);
    if (dir != AT_FDCWD) {
        *ret = (struct path){.dir = dir, .is_kept = true, .name = name};
        return 0;
    }
    parent = parent_of(text, slash);
    dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(err, errno, "directory '%s'", parent);
    *ret = (struct path){
        .dir = dir, .is_kept = kept_take_dir(kept, dir, text, (size_t)(slash - text)), .name = slash + 1};
    return 0;
}

static bool is_trusted(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid());
}

/* A directory within another, or -1 with errno: ELOOP for a link that is not to be followed. */
static int step_into(int dir, const char *name)
{
    auto_close int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int into;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (S_ISLNK(st.st_mode)) {
        errno = ELOOP;
        return is_trusted(dir) && is_trusted(fd) ? openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    into = fd;
    fd = -1;
    return into;
}

static int walk(char *path) /* which is cut */
{
    int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *rest = path, *name;

    while (dir >= 0 && (name = strsep(&rest, "/")) != NULL) {
        auto_close int from = dir;

        if (name[0] == '\0')
            from = -1;
        else
            dir = step_into(from, name);
    }
    return dir;
}

int path_open_strict(const char *text, struct path *ret, struct runner_error *err)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    const char *slash = name_at(text, err);
    auto_free char *parent = NULL;
    int dir;

    if (slash == NULL)
        return -1;
    parent = parent_of(text, slash);
    dir = (int)syscall(SYS_openat2, AT_FDCWD, parent, &how, sizeof how); /* mostly there is no link at all */
    if (dir < 0 && (errno == ELOOP || errno == ENOSYS || errno == EPERM || errno == EACCES)) {
        auto_free char *copy = mem_dup(parent);
        dir = walk(copy);
    }
    if (dir < 0 && errno == ELOOP)
        return fail(err, RUNNER_E_INVALID, ELOOP, "directory '%s': another user's link is on the way", parent);
    if (dir < 0)
        return fail_errno(err, errno, "directory '%s'", parent);
    *ret = (struct path){.dir = dir, .name = slash + 1};
    return 0;
}

/* No umask takes from what the owner may: the runner could not work with it. */
int file_make(int dir, const char *name, mode_t mode)
{
    auto_close int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0700);
    int made;

    if (fd < 0)
        return -1;
    if ((mode & 07077) != 0 && fchmod(fd, mode & 07777) < 0) {
        int sys_errno = errno;
        (void)unlinkat(dir, name, 0);
        errno = sys_errno;
        return -1;
    }
    made = fd;
    fd = -1;
    return made;
}

static atomic_uint_fast64_t last_number;

static void seed_numbers(void)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t)getpid() << 32;
    atomic_store(&last_number, number);
}

/* Most likely nobody's: runners begin anywhere. */
static uint64_t next_number(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, seed_numbers);
    return atomic_fetch_add(&last_number, 1);
}

int draft_open(struct kept *kept, const char *path, mode_t mode, struct draft *ret, struct runner_error *err)
{
    struct draft d = DRAFT_INIT;

    if (path_open(kept, path, &d.at, err) < 0)
        return -1;
    do {
        (void)snprintf(d.name, sizeof d.name, ".tmp-%016llx", (unsigned long long)next_number());
        d.fd = file_make(d.at.dir, d.name, mode);
    } while (d.fd < 0 && errno == EEXIST);
    if (d.fd < 0) {
        fail_errno(err, errno, "make '%s'", path);
        path_done(&d.at);
        return -1;
    }
    *ret = d;
    return 0;
}

static int publish_excl(struct draft *d)
{
    if (renameat2(d->at.dir, d->name, d->at.dir, d->at.name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS) /* file systems without it: two names for a moment */
        return -1;
    if (linkat(d->at.dir, d->name, d->at.dir, d->at.name, 0) < 0)
        return -1;
    return unlinkat(d->at.dir, d->name, 0);
}

int draft_publish(struct draft *d, bool sync, bool excl, struct runner_error *err)
{
    if (sync && fsync(d->fd) < 0)
        return fail_errno(err, errno, "sync '%s'", d->at.name);
    if ((excl ? publish_excl(d) : renameat(d->at.dir, d->name, d->at.dir, d->at.name)) < 0)
        return fail_errno(err, errno, "name '%s'", d->at.name);
    cleanup_close(&d->fd);
    d->fd = -1;
    if (sync && fsync(d->at.dir) < 0)
        return fail_errno(err, errno, "sync the directory of '%s'", d->at.name);
    return 0;
}

void draft_done(struct draft *d)
{
    if (d->fd >= 0) {
        (void)unlinkat(d->at.dir, d->name, 0);
        cleanup_close(&d->fd);
        d->fd = -1;
    }
    path_done(&d->at);
    d->at.dir = -1;
}
