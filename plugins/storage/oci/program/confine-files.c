/* Of files: whose they are, and which there are. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugins/storage/oci/program/confine-inner.h"

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                                          \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | TRUNCATE)
#define TRUNCATE (UINT64_C(1) << 14) /* Linux 6.2; older headers have no name for it */
#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | TRUNCATE)
/* All that the first version knows: what is not allowed by a rule is refused. */
#define ALL (LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1))

const char *const confine_system[] = {
#if CONFINE_IS_SANITIZED
    "/proc", /* it looks for leaks there, at the end */
#endif
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/sys/devices/system/cpu",
    NULL};

/* ---- whose ---- */

/* It was root's alone, so what is in it has no other name by which it is somebody's. */
static void give_content(int dir_fd, uint32_t uid)
{
    auto_dir DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *entry;
    struct stat st;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
            (void)fchownat(dir_fd, entry->d_name, uid, uid, AT_SYMLINK_NOFOLLOW);
}

static int give(const char *path, uint32_t uid, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "directory '%s'", path);
    if (st.st_uid == uid && st.st_gid == uid)
        return 0;
    if (st.st_uid == 0 && (st.st_mode & 022) == 0)
        give_content(fd, uid);
    if (fchown(fd, uid, uid) < 0 || fchmod(fd, 0700) < 0)
        return fail_errno(err, errno, "owner of directory '%s'", path);
    return 0;
}

int confine_give(const struct confine *what, uint32_t uid, struct runner_error *err)
{
    for (size_t i = 0; i < CONFINE_PATHS; i++)
        if (what->writable[i] != NULL && give(what->writable[i], uid, err) < 0)
            return -1;
    return 0;
}

int confine_reach(const struct confine *what, struct runner_error *err)
{
    for (size_t i = 0; i < CONFINE_PATHS; i++) {
        auto_free char *path = what->writable[i] != NULL ? mem_dup(what->writable[i]) : NULL;
        char *slash;
        struct stat st;

        while (path != NULL && (slash = strrchr(path, '/')) != NULL && slash != path) {
            *slash = '\0';
            if (stat(path, &st) < 0)
                return fail_errno(err, errno, "directory '%s'", path);
            if ((st.st_mode & S_IXOTH) == 0) {
                (void)fail(err, RUNNER_E_NOTSUP, 0, "others cannot pass the directory '%s'", path);
                return 1;
            }
        }
    }
    return 0;
}

/* ---- landlock ---- */

struct rules {
    int fd;
    uint64_t handled;
};

/* A path that is absent needs no rule. */
static int allow(const struct rules *rules, const char *path, uint64_t access, struct runner_error *err)
{
    auto_close int fd = path != NULL ? open(path, O_PATH | O_CLOEXEC) : -1;
    struct landlock_path_beneath_attr rule = {.allowed_access = access & rules->handled, .parent_fd = fd};
    struct stat st;

    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= OF_FILES;
    if (syscall(SYS_landlock_add_rule, rules->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
        return 0;
    return fail_errno(err, errno, "landlock: '%s'", path);
}

static int allow_all(const struct rules *rules, const struct confine *what, struct runner_error *err)
{
    for (const char *const *path = confine_system; *path != NULL; path++)
        if (allow(rules, *path, READ, err) < 0)
            return -1;
    if (allow(rules, "/etc/resolv.conf", READ, err) < 0 || allow(rules, "/proc/mounts", READ, err) < 0) /* links */
        return -1;
    for (size_t i = 0; i < CONFINE_PATHS; i++)
        if (allow(rules, what->readable[i], READ, err) < 0 || allow(rules, what->writable[i], WRITE, err) < 0)
            return -1;
    return 0;
}

int confine_files(const struct confine *what, struct runner_error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct rules rules = {.fd = -1, .handled = ALL};
    struct landlock_ruleset_attr all = {.handled_access_fs = 0};
    auto_close int fd = -1;

    if (version < 1) { /* an older kernel, or it is turned off */
        (void)fail_errno(err, errno, "this kernel");
        return 1;
    }
    rules.handled |= version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
    rules.handled |= version >= 3 ? TRUNCATE : 0;
    all.handled_access_fs = rules.handled;
    fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
    rules.fd = fd;
    if (fd < 0)
        return fail_errno(err, errno, "landlock");
    if (allow_all(&rules, what, err) < 0)
        return -1;
    return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? fail_errno(err, errno, "landlock") : 0;
}
