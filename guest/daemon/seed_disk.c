#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/daemon/disk.h"
#include "guest/daemon/seed.h"

/* What is done with the volume while it is mounted at dir. */
typedef int use_fn(const char *dir, void *arg, struct runner_error *err);

static int with_volume(use_fn *use, void *arg, struct runner_error *err)
{
    char dir[] = "/tmp/runner-seed.XXXXXX";
    auto_free char *device = NULL;
    int status;

    if (disk_find_iso("cidata", &device, err) < 0)
        return -1;
    if (mkdtemp(dir) == NULL)
        return fail_errno(err, errno, "make '%s'", dir);
    if (mount(device, dir, "iso9660", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
        status = fail_errno(err, errno, "mount the seed '%s'", device);
    } else {
        status = use(dir, arg, err);
        (void)umount2(dir, MNT_DETACH);
    }
    (void)rmdir(dir);
    return status;
}

static int load(const char *dir, void *arg, struct runner_error *err)
{
    struct seed *ret = arg;
    auto_free char *file = mem_printf("%s/runner.json", dir);
    auto_free char *program = mem_printf("%s/" SEED_DAEMON_FILE, dir);

    if (seed_load(file, ret, err) < 0)
        return -1;
    ret->has_daemon = access(program, F_OK) == 0;
    return 0;
}

int seed_load_disk(struct seed *ret, struct runner_error *err)
{
    return with_volume(load, ret, err);
}

/* ---- the daemon ---- */

static int copy_bytes(int from, int to, off_t left)
{
    while (left > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return -1;
        }
        left -= n;
    }
    return 0;
}

/* Under a name of its own first: the old file may still run. */
static int copy_program(const char *from_path, const char *to_path, struct runner_error *err)
{
    auto_free char *draft = mem_printf("%s.new", to_path);
    auto_close int from = open(from_path, O_RDONLY | O_CLOEXEC);
    auto_close int to = -1;
    struct stat st;
    int closed;

    if (from < 0 || fstat(from, &st) < 0)
        return fail_errno(err, errno, "open the seed's '%s'", SEED_DAEMON_FILE);
    (void)unlink(draft);
    to = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    if (to < 0)
        return fail_errno(err, errno, "make '%s'", draft);
    if (copy_bytes(from, to, st.st_size) < 0 || fchmod(to, 0755) < 0) {
        (void)fail_errno(err, errno, "write '%s'", draft);
        (void)unlink(draft);
        return -1;
    }
    closed = close(to); /* no program runs that is open for writing */
    to = -1;
    if (closed == 0 && rename(draft, to_path) == 0)
        return 0;
    (void)fail_errno(err, errno, "make '%s'", to_path);
    (void)unlink(draft);
    return -1;
}

static int fetch(const char *dir, void *arg, struct runner_error *err)
{
    auto_free char *program = mem_printf("%s/" SEED_DAEMON_FILE, dir);

    (void)arg;
    return copy_program(program, SEED_DAEMON_COPY, err);
}

int seed_fetch_daemon(struct runner_error *err)
{
    return with_volume(fetch, NULL, err);
}
