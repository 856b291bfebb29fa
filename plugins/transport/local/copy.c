/* CLONE: shared blocks where the file system can, else a copy that keeps holes. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "plugins/transport/local/path.h"

#define CHUNK  (16 << 20) /* between looks at the cancel flag */
#define BUFFER (256 << 10)

struct copy {
    const struct act *act;
    const char *path;
    int from, to;
    char *buffer; /* where copy_file_range does not work between the two */
};

static int copy_by_hand(struct copy *c, off_t at, size_t len, struct runner_error *err)
{
    ssize_t n, done = 0;

    if (c->buffer == NULL)
        c->buffer = mem_alloc(BUFFER);
    n = pread(c->from, c->buffer, len < BUFFER ? len : BUFFER, at);
    if (n < 0)
        return fail_errno(err, errno, "read '%s'", c->path);
    if (n == 0)
        return fail(err, RUNNER_E_IO, 0, "read '%s': it became shorter meanwhile", c->path);
    while (done < n) {
        ssize_t w = pwrite(c->to, c->buffer + done, (size_t)(n - done), at + done);
        if (w < 0 && errno != EINTR)
            return fail_errno(err, errno, "copy of '%s'", c->path);
        done += w > 0 ? w : 0;
    }
    return (int)n;
}

static int copy_extent(struct copy *c, off_t at, off_t end, struct runner_error *err)
{
    while (at < end) {
        size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
        off_t from = at, to = at;
        ssize_t n = c->buffer == NULL ? copy_file_range(c->from, &from, c->to, &to, len, 0) : 0;

        if (n < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT || errno == EFBIG))
            return fail_errno(err, errno, "copy of '%s'", c->path);
        if (n <= 0)
            n = copy_by_hand(c, at, len, err);
        if (n < 0 || act_check(c->act, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

static int copy_data(struct copy *c, off_t size, struct runner_error *err)
{
    off_t end = 0;

    if (ftruncate(c->to, size) < 0)
        return fail_errno(err, errno, "copy of '%s'", c->path);
    while (end < size) {
        off_t start = lseek(c->from, end, SEEK_DATA);

        if (start < 0 && errno == ENXIO) /* a hole up to the end */
            return 0;
        if (start < 0)
            start = end; /* no notion of holes there */
        end = lseek(c->from, start, SEEK_HOLE);
        if (end < 0 || end > size)
            end = size;
        if (copy_extent(c, start, end, err) < 0)
            return -1;
    }
    return 0;
}

static int fill(const struct act *a, const struct runner_step *step, int from, int to, struct runner_error *err)
{
    struct copy c = {.act = a, .path = step->path, .from = from, .to = to};
    struct stat st;
    int r;

    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (step->flags & RUNNER_S_REFLINK)
        return fail(err, RUNNER_E_NOTSUP, errno, "%s",
                    errno == EXDEV ? "they are on two file systems, which cannot share blocks"
                                   : "the file system cannot share blocks");
    if (fstat(from, &st) < 0)
        return fail_errno(err, errno, "read '%s'", step->path);
    r = copy_data(&c, st.st_size, err);
    free(c.buffer);
    return r;
}

static int open_source(const char *path, int *ret_fd, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "read '%s'", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is not a regular file", path);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int copy_clone(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_close int from = -1;
    auto_draft struct draft d = DRAFT_INIT;
    struct stat st;

    (void)result;
    if (lstat(step->to, &st) == 0) /* known before the copying; the naming checks again */
        return fail(err, RUNNER_E_EXISTS, EEXIST, "clone '%s' to '%s'", step->path, step->to);
    if (open_source(step->path, &from, err) < 0 || draft_open(a->kept, step->to, (mode_t)step->number, &d, err) < 0 ||
        fill(a, step, from, d.fd, err) < 0 || draft_publish(&d, step->flags & RUNNER_S_SYNC, true, err) < 0)
        return error_wrap(err, "clone '%s' to '%s'", step->path, step->to);
    return 0;
}
