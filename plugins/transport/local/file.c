/* Steps on one file or directory. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "plugins/transport/local/path.h"

#define NAMES_MAX 100000
#define BLOCK     4096

static bool is_absent(int sys_errno)
{
    return sys_errno == ENOENT || sys_errno == ENOTDIR;
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- mkdir ---------------------------------------------------------------------------------------------------- */

static int make_parents(const char *path, struct runner_error *err)
{
    auto_free char *part = mem_dup(path);

    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST && !is_directory(part))
            return fail_errno(err, errno, "make directory '%s'", part);
        *slash = '/';
    }
    return 0;
}

/* One just made, whatever lies under its name by now: by descriptor, and no link. Steps for what is to be in a new one
 * follow, so that it stays open. */
static int finish_directory(const struct act *a, const struct runner_step *step, int dir, const char *name)
{
    bool is_owned = (step->flags & RUNNER_S_OWNED) && a->self->is_root;
    bool is_short = (step->number & 07077) != 0; /* the umask may have taken from the mode */
    auto_close int fd = -1;

    if (!is_owned && !is_short)
        return 0;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (is_owned && fchown(fd, step->uid, step->gid) < 0) ||
        (is_short && fchmod(fd, (mode_t)step->number & 07777) < 0))
        return -1;
    if ((step->flags & RUNNER_S_EXCL) && kept_take_dir(a->kept, fd, step->path, strlen(step->path)))
        fd = -1;
    return 0;
}

/* Made new, and none but we, as root, can put anything there. */
static bool is_ours_alone(const struct act *a, const struct runner_step *step)
{
    return a->self->is_root && (step->flags & RUNNER_S_EXCL) && (step->number & 022) == 0 &&
           (!(step->flags & RUNNER_S_OWNED) || step->uid == 0);
}

int file_mkdir(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    const char *name;
    int dir = kept_at(a->kept, step->path, &name);

    (void)result;
    if ((step->flags & RUNNER_S_PARENTS) && make_parents(step->path, err) < 0)
        return -1;
    if (mkdirat(dir, name, (mode_t)step->number & 07777) == 0) {
        if (finish_directory(a, step, dir, name) == 0) {
            if (is_ours_alone(a, step))
                kept_take_new(a->kept, step->path);
            return 0;
        }
        fail_errno(err, errno, "owner and mode of directory '%s'", step->path);
        (void)unlinkat(dir, name, AT_REMOVEDIR);
        return -1;
    }
    if (errno == EEXIST && !(step->flags & RUNNER_S_EXCL) && is_directory(step->path))
        return 0;
    return fail_errno(err, errno, "make directory '%s'", step->path);
}

/* ---- write, patch, read ---------------------------------------------------------------------------------------- */

static int write_at(int fd, const char *data, size_t len, size_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            at += (size_t)n;
        }
    }
    return 0;
}

static bool is_zero(const char *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* The length of what begins at data and is, by blocks, zero (or not). */
static size_t run_length(const char *data, size_t len, bool is_hole)
{
    size_t n = 0;

    while (n < len && is_zero(data + n, len - n < BLOCK ? len - n : BLOCK) == is_hole)
        n += len - n < BLOCK ? len - n : BLOCK;
    return n;
}

/* Into an empty file. Blocks of zeros stay holes: most of a disk's header and of a seed is zero. */
static int write_all(int fd, const char *data, size_t len)
{
    size_t at = 0, n;

    while (at < len) {
        at += run_length(data + at, len - at, true);
        n = run_length(data + at, len - at, false);
        if (write_at(fd, data + at, n, at) < 0)
            return -1;
        at += n;
        if (n == 0 && ftruncate(fd, (off_t)len) < 0) /* it ends with a hole */
            return -1;
    }
    return 0;
}

static int fill(const struct act *a, const struct runner_step *step, int fd, struct runner_error *err)
{
    if ((step->flags & RUNNER_S_OWNED) && a->self->is_root && fchown(fd, step->uid, step->gid) < 0)
        return fail_errno(err, errno, "owner of '%s'", step->path);
    return write_all(fd, step->data, step->len) < 0 ? fail_errno(err, errno, "write '%s'", step->path) : 0;
}

/* Under its own name. */
static int write_fresh(const struct act *a, const struct runner_step *step, struct runner_error *err)
{
    const char *name;
    int dir = kept_at(a->kept, step->path, &name);
    auto_close int fd = file_make(dir, name, (mode_t)step->number);

    if (fd < 0)
        return fail_errno(err, errno, "write '%s'", step->path);
    if (fill(a, step, fd, err) < 0) {
        (void)unlinkat(dir, name, 0);
        return -1;
    }
    kept_take_file(a->kept, fd, step->path);
    fd = -1;
    return 0;
}

int file_write(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_draft struct draft d = DRAFT_INIT;

    (void)result;
    if ((step->flags & RUNNER_S_FRESH) && !(step->flags & RUNNER_S_SYNC))
        return write_fresh(a, step, err);
    if (draft_open(a->kept, step->path, (mode_t)step->number, &d, err) < 0)
        return error_wrap(err, "write '%s'", step->path);
    if (fill(a, step, d.fd, err) < 0)
        return -1;
    if (draft_publish(&d, step->flags & RUNNER_S_SYNC, step->flags & RUNNER_S_EXCL, err) < 0)
        return error_wrap(err, "write '%s'", step->path);
    return 0;
}

int file_patch(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_close int opened = -1;
    const char *name;
    int fd = kept_file(a->kept, step->path), dir = kept_at(a->kept, step->path, &name);

    (void)result;
    if (fd < 0)
        fd = opened = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail_errno(err, errno == ENOTDIR ? ENOENT : errno, "patch '%s'", step->path);
    if (step->number < 0)
        return fail(err, RUNNER_E_INVALID, 0, "patch '%s': offset %lld", step->path, (long long)step->number);
    if (write_at(fd, step->data, step->len, (size_t)step->number) < 0 ||
        ((step->flags & RUNNER_S_SYNC) && fsync(fd) < 0))
        return fail_errno(err, errno, "patch '%s'", step->path);
    return 0;
}

/* size: the file's, where it says one. */
static int read_all(int fd, const struct runner_step *step, off_t size, struct str *text, struct runner_error *err)
{
    size_t limit = step->number > 0 ? (size_t)step->number : 0;
    char buffer[16384];

    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "read '%s'", step->path);
        if (n == 0)
            return 0;
        if ((size_t)n > limit - text->len && (step->flags & (RUNNER_S_TAIL | RUNNER_S_HEAD))) { /* tail: it grew */
            str_add_mem(text, buffer, limit - text->len);
            return 0;
        }
        if ((size_t)n > limit - text->len)
            return fail(err, RUNNER_E_INVALID, 0, "read '%s': larger than %zu bytes", step->path, limit);
        str_add_mem(text, buffer, (size_t)n);
        if (size > 0 && text->len == (size_t)size)
            return 0;
    }
}

/* To where the bytes begin that may be read. */
static int seek_part(int fd, const struct runner_step *step, const struct stat *st, struct runner_result *result,
                     struct runner_error *err)
{
    result->number = st->st_size;
    if ((step->flags & RUNNER_S_TAIL) && step->number >= 0 && st->st_size > step->number &&
        lseek(fd, st->st_size - step->number, SEEK_SET) < 0)
        return fail_errno(err, errno, "read '%s'", step->path);
    return 0;
}

int file_read(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    const char *name;
    int dir = kept_at(a->kept, step->path, &name);
    auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    auto_str struct str text = STR_INIT;
    struct stat st;

    if (fd < 0 && is_absent(errno) && (step->flags & RUNNER_S_OPTIONAL)) {
        result->status = 1;
        return 0;
    }
    if (fd < 0)
        return fail_errno(err, errno == ENOTDIR ? ENOENT : errno, "read '%s'", step->path);
    if (fstat(fd, &st) < 0)
        return fail_errno(err, errno, "read '%s'", step->path);
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "read '%s': not a regular file", step->path);
    if ((step->flags & (RUNNER_S_TAIL | RUNNER_S_HEAD)) && seek_part(fd, step, &st, result, err) < 0)
        return -1;
    if (read_all(fd, step, st.st_size, &text, err) < 0)
        return -1;
    return act_output(result, str_text(&text), text.len, err);
}

/* ---- grow, rename --------------------------------------------------------------------------------------------- */

int file_grow(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    auto_close int opened = -1;
    const char *name;
    int fd = kept_file(a->kept, step->path), dir = kept_at(a->kept, step->path, &name);
    bool is_new = false;
    struct stat st;

    (void)result;
    if (fd < 0) {
        fd = opened = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        is_new = fd >= 0;
    }
    if (fd < 0 && errno == EEXIST)
        fd = opened = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "grow '%s'", step->path);
    if (step->number < 0 || st.st_size > step->number)
        return fail(err, RUNNER_E_INVALID, 0, "grow '%s': it has %lld bytes, more than %lld", step->path,
                    (long long)st.st_size, (long long)step->number);
    if (ftruncate(fd, (off_t)step->number) < 0) {
        fail_errno(err, errno, "grow '%s' to %lld bytes", step->path, (long long)step->number);
        if (is_new)
            (void)unlinkat(dir, name, 0);
        return -1;
    }
    return 0;
}

static int sync_rename(const struct path *from, const struct path *to)
{
    auto_close int fd = openat(to->dir, to->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

    /* What cannot be opened (a socket, a link) has no content to sync. */
    if (fd >= 0 && fsync(fd) < 0)
        return -1;
    return fsync(to->dir) < 0 || fsync(from->dir) < 0 ? -1 : 0;
}

int file_rename(const struct act *a, const struct runner_step *step, struct runner_result *result,
                struct runner_error *err)
{
    auto_path struct path from = PATH_INIT, to = PATH_INIT;
    struct stat st;

    (void)a;
    if ((step->flags & RUNNER_S_OPTIONAL) && lstat(step->path, &st) < 0) {
        if (!is_absent(errno))
            return fail_errno(err, errno, "rename '%s'", step->path);
        result->status = 1;
        return 0;
    }
    if (path_open(NULL, step->path, &from, err) < 0 || path_open(NULL, step->to, &to, err) < 0)
        return error_wrap(err, "rename '%s'", step->path);
    if (renameat(from.dir, from.name, to.dir, to.name) < 0)
        return fail_errno(err, errno, "rename '%s' to '%s'", step->path, step->to);
    if ((step->flags & RUNNER_S_SYNC) && sync_rename(&from, &to) < 0)
        return fail_errno(err, errno, "sync '%s'", step->to);
    return 0;
}

/* ---- stat, list, statfs --------------------------------------------------------------------------------------- */

int file_stat(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    const char *name;
    int dir = kept_at(a->kept, step->path, &name);
    struct stat st;

    if (fstatat(dir, name, &st, 0) == 0) {
        result->number = st.st_size;
        result->number2 = st.st_mtime;
        return 0;
    }
    if (!is_absent(errno))
        return fail_errno(err, errno, "stat '%s'", step->path);
    result->status = 1;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int collect_names(DIR *dir, const char *path, char ***ret_names, size_t *ret_n, struct runner_error *err)
{
    struct dirent *entry;
    size_t cap = 0;

    while ((void)(errno = 0), (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (*ret_n == NAMES_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "list '%s': more than %d names", path, NAMES_MAX);
        if (*ret_n == cap) {
            cap = cap == 0 ? 64 : 2 * cap;
            *ret_names = mem_grow(*ret_names, cap, sizeof **ret_names);
        }
        (*ret_names)[(*ret_n)++] = mem_dup(entry->d_name);
    }
    return errno == 0 ? 0 : fail_errno(err, errno, "list '%s'", path);
}

int file_list(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    auto_dir DIR *dir = opendir(step->path);
    auto_str struct str out = STR_INIT;
    char **names = NULL;
    size_t n = 0;
    int r;

    (void)a;
    if (dir == NULL && is_absent(errno) && (step->flags & RUNNER_S_OPTIONAL)) {
        result->status = 1;
        return 0;
    }
    if (dir == NULL)
        return fail_errno(err, errno, "list '%s'", step->path);
    r = collect_names(dir, step->path, &names, &n, err);
    if (n > 0)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++) {
        str_add_mem(&out, names[i], strlen(names[i]) + 1);
        free(names[i]);
    }
    free(names);
    return r < 0 ? -1 : act_output(result, str_text(&out), out.len, err);
}

int file_statfs(const struct act *a, const struct runner_step *step, struct runner_result *result,
                struct runner_error *err)
{
    struct statvfs fs;

    (void)a;
    if (statvfs(step->path, &fs) < 0)
        return fail_errno(err, errno, "file system of '%s'", step->path);
    result->number = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    result->number2 = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    return 0;
}
