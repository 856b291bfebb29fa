/* OWN: owner and mode of one file, which may lie where its present owner is not to be trusted. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "plugins/transport/local/path.h"

static int check_kind(const struct runner_step *step, const struct stat *st, struct runner_error *err)
{
    if (S_ISLNK(st->st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "own '%s': it is a link", step->path);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "own '%s': it is a device", step->path);
    /* A second name may have been laid here by who may not own the file under its first. */
    if (!S_ISDIR(st->st_mode) && st->st_nlink > 1 && (st->st_uid != step->uid || st->st_gid != step->gid))
        return fail(err, RUNNER_E_INVALID, 0, "own '%s': the file has %lu names", step->path,
                    (unsigned long)st->st_nlink);
    return 0;
}

static bool is_mode(const struct runner_step *step, const struct stat *st)
{
    return (st->st_mode & 07777) == (step->number & 07777);
}

/* Changing what is so already would write the inode to the journal. */
static bool is_so(const struct runner_step *step, const struct stat *st)
{
    return st->st_uid == step->uid && st->st_gid == step->gid && is_mode(step, st);
}

static int give(const struct act *a, const struct runner_step *step, int fd, struct runner_result *result,
                struct runner_error *err)
{
    char by_fd[32];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, errno, "own '%s'", step->path);
    if (check_kind(step, &st, err) < 0)
        return -1;
    if (a->self->is_root && is_so(step, &st))
        return 0;
    if (!a->self->is_root)
        result->status = 1;
    else if (fchownat(fd, "", step->uid, step->gid, AT_EMPTY_PATH) < 0)
        return fail_errno(err, errno, "own '%s': user %u, group %u", step->path, step->uid, step->gid);
    if (is_mode(step, &st) && !(st.st_mode & (S_ISUID | S_ISGID))) /* which a new owner takes away */
        return 0;
    (void)snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd); /* fchmod() takes no O_PATH descriptor */
    if (chmod(by_fd, (mode_t)step->number & 07777) < 0)
        return fail_errno(err, errno, "own '%s': mode %04o", step->path, (unsigned)step->number & 07777);
    return 0;
}

int own_run(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    auto_path struct path at = PATH_INIT;
    auto_close int fd = -1;
    int made = kept_file(a->kept, step->path);

    if (made >= 0) /* by this batch, under no name but this one */
        return give(a, step, made, result, err);
    if (path_open_strict(step->path, &at, err) < 0)
        return error_wrap(err, "own '%s'", step->path);
    fd = openat(at.dir, at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, errno == ENOTDIR ? ENOENT : errno, "own '%s'", step->path);
    return give(a, step, fd, result, err);
}
