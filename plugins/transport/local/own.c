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

/* Changing what is so already would write the inode to the journal. */
static bool is_so(const struct runner_step *step, const struct stat *st)
{
    return st->st_uid == step->uid && st->st_gid == step->gid && (st->st_mode & 07777) == (step->number & 07777);
}

int own_run(const struct act *a, const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    auto_path struct path at = PATH_INIT;
    auto_close int fd = -1;
    char by_fd[32];
    struct stat st;

    if (path_open_strict(step->path, &at, err) < 0)
        return error_wrap(err, "own '%s'", step->path);
    fd = openat(at.dir, at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno == ENOTDIR ? ENOENT : errno, "own '%s'", step->path);
    if (check_kind(step, &st, err) < 0)
        return -1;
    if (a->self->is_root && is_so(step, &st))
        return 0;
    if (!a->self->is_root)
        result->status = 1;
    else if (fchownat(fd, "", step->uid, step->gid, AT_EMPTY_PATH) < 0)
        return fail_errno(err, errno, "own '%s': user %u, group %u", step->path, step->uid, step->gid);
    (void)snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd); /* fchmod() takes no O_PATH descriptor */
    if (chmod(by_fd, (mode_t)step->number & 07777) < 0)
        return fail_errno(err, errno, "own '%s': mode %04o", step->path, (unsigned)step->number & 07777);
    return 0;
}
