/* REMOVE: a file, or a tree without ever following a link or leaving its file system. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "plugins/transport/local/path.h"

#define DEPTH_MAX  64 /* of descriptors at once: what is deeper is moved to the top first */
#define PASSES_MAX 8  /* over a directory into which somebody writes meanwhile */

struct removal {
    const struct act *act;
    const char *path; /* of the step, for messages */
    const char *last; /* name of the entry of the top that goes last, or NULL */
    dev_t device;
    int top;          /* descriptor of the directory itself */
    unsigned n_moved; /* directories to the top of it */
    struct runner_error *err;
};

static int remove_entry(struct removal *r, int dir, const char *name, int depth);

/* depth: 1 at the top. */
static bool is_kept_for_last(const struct removal *r, const char *name, int depth)
{
    return depth == 1 && r->last != NULL && strcmp(name, r->last) == 0;
}

/* Removes what is in the directory; takes fd over. */
static int empty_directory(struct removal *r, int fd, int depth)
{
    auto_dir DIR *d = fdopendir(fd);
    unsigned n_moved = r->n_moved;
    struct dirent *entry;

    if (d == NULL) {
        close(fd);
        return fail_errno(r->err, ENOMEM, "remove '%s'", r->path);
    }
    while ((void)(errno = 0), (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            is_kept_for_last(r, entry->d_name, depth))
            continue;
        if (remove_entry(r, dirfd(d), entry->d_name, depth) < 0)
            return -1;
    }
    if (errno != 0)
        return fail_errno(r->err, errno, "remove '%s'", r->path);
    return depth == 1 && r->last != NULL && n_moved == r->n_moved ? remove_entry(r, dirfd(d), r->last, depth) : 0;
}

/* Under a name that nothing has there. */
static int move_to_top(struct removal *r, int dir, const char *name)
{
    char to[32];

    do {
        (void)snprintf(to, sizeof to, ".deep-%u", ++r->n_moved);
        if (renameat2(dir, name, r->top, to, RENAME_NOREPLACE) == 0 || errno == ENOENT)
            return 1;
    } while (errno == EEXIST);
    return fail_errno(r->err, errno, "remove '%s': move '%s' up", r->path, name);
}

/* 1: it is not there, or not any more. */
static int open_directory(struct removal *r, int dir, const char *name, int depth, int *ret_fd)
{
    auto_close int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 1 : fail_errno(r->err, errno, "remove '%s': open '%s'", r->path, name);
    if (fstat(fd, &st) < 0)
        return fail_errno(r->err, errno, "remove '%s'", r->path);
    if (st.st_dev != r->device)
        return fail(r->err, RUNNER_E_BUSY, 0, "remove '%s': '%s' in it is another file system", r->path, name);
    if (depth >= DEPTH_MAX)
        return move_to_top(r, dir, name);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* A pass that moved something to the top was not for nothing, and does not count there. */
static int remove_directory(struct removal *r, int dir, const char *name, int depth)
{
    for (int i = 0; i < PASSES_MAX; i++) {
        unsigned n_moved = r->n_moved;
        int fd = -1, opened = open_directory(r, dir, name, depth, &fd);

        if (opened != 0)
            return opened > 0 ? 0 : -1;
        if (act_check(r->act, r->err) < 0) {
            close(fd);
            return -1;
        }
        if (depth == 0)
            r->top = fd;
        if (empty_directory(r, fd, depth + 1) < 0)
            return -1;
        if (depth == 0 && n_moved != r->n_moved)
            i = -1;
        if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            break;
    }
    return fail_errno(r->err, errno, "remove '%s': directory '%s'", r->path, name);
}

static bool is_directory(int dir, const char *name)
{
    int saved = errno;
    struct stat st;
    bool is = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);

    errno = saved;
    return is;
}

static int remove_entry(struct removal *r, int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && (errno != EPERM || !is_directory(dir, name))) /* POSIX allows EPERM for a directory */
        return fail_errno(r->err, errno, "remove '%s': '%s'", r->path, name);
    return remove_directory(r, dir, name, depth);
}

/* A tree of "/x" is no sandbox's; a mistake that ends there would be the worst. */
static bool is_too_short(const char *path)
{
    int parts = 0;

    for (const char *p = path; *p != '\0'; p++)
        if (*p == '/' && p[1] != '/' && p[1] != '\0')
            parts++;
    return parts < 2;
}

static int remove_empty(const struct path *at, const char *shown, struct runner_result *result,
                        struct runner_error *err)
{
    if (unlinkat(at->dir, at->name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return fail_errno(err, errno, "remove '%s'", shown);
    result->status = 1;
    return 0;
}

int tree_remove(const struct act *a, const struct runner_step *step, struct runner_result *result,
                struct runner_error *err)
{
    auto_path struct path at = PATH_INIT;
    struct removal r = {.act = a, .path = step->path, .last = step->to, .err = err};
    struct runner_error cause = ERROR_INIT;
    const char *name;
    int dir = kept_at(a->kept, step->path, &name);
    struct stat st;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT || errno == ENOTDIR) /* mostly it is a file */
        return 0;
    if (path_open(a->kept, step->path, &at, &cause) < 0) {
        if (cause.sys_errno == ENOENT || cause.sys_errno == ENOTDIR)
            return 0;
        if (err != NULL)
            error_copy(err, &cause);
        return error_wrap(err, "remove '%s'", step->path);
    }
    if (fstatat(at.dir, at.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "remove '%s'", step->path);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(at.dir, at.name, 0) < 0 && errno != ENOENT)
            return fail_errno(err, errno, "remove '%s'", step->path);
        return 0;
    }
    if (step->flags & RUNNER_S_EXCL)
        return remove_empty(&at, step->path, result, err);
    if (!(step->flags & RUNNER_S_TREE))
        return fail(err, RUNNER_E_INVALID, 0, "remove '%s': it is a directory", step->path);
    if (is_too_short(step->path))
        return fail(err, RUNNER_E_INVALID, 0, "remove '%s': refused, too near the root", step->path);
    r.device = st.st_dev;
    return remove_directory(&r, at.dir, at.name, 0);
}
