/* What there is of the host's files: a mount namespace of the program's own. */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugins/storage/oci/program/confine-inner.h"

#define TREES_MAX 24
#define ROOT_SIZE "65536" /* of a file system of nothing but directories */

struct tree {
    const char *path; /* where it is, and will be */
    int fd;
    bool is_file;
};

struct view {
    struct tree trees[TREES_MAX];
    size_t n;
    char *resolver; /* what /etc/resolv.conf leads to */
};

/* What is absent is left out. */
static int take(struct view *v, const char *path, uint64_t attributes, struct runner_error *err)
{
    struct mount_attr attr = {.attr_set = attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME,
                              .attr_clr = MOUNT_ATTR__ATIME};
    struct tree *tree = &v->trees[v->n];
    struct stat st;

    if (path == NULL || v->n == TREES_MAX)
        return 0;
    tree->fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (tree->fd < 0 || fstat(tree->fd, &st) < 0 ||
        mount_setattr(tree->fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) < 0)
        return fail_errno(err, errno, "'%s'", path);
    tree->path = path;
    tree->is_file = !S_ISDIR(st.st_mode);
    v->n++;
    return 0;
}

static int take_all(struct view *v, const struct confine *what, struct runner_error *err)
{
    v->resolver = realpath("/etc/resolv.conf", NULL);
    for (const char *const *path = confine_system; *path != NULL; path++)
        if (take(v, *path, MOUNT_ATTR_RDONLY | (strncmp(*path, "/dev/", 5) == 0 ? 0 : MOUNT_ATTR_NODEV), err) < 0)
            return -1;
    if (take(v, v->resolver, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err) < 0)
        return -1;
    for (size_t i = 0; i < CONFINE_PATHS; i++)
        if (take(v, what->readable[i], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err) < 0 ||
            take(v, what->writable[i], MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err) < 0)
            return -1;
    return 0;
}

/* An empty file system over what is at "/". */
static int new_root(struct runner_error *err)
{
    auto_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    auto_close int root = -1;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", ROOT_SIZE, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_errno(err, errno, "tmpfs");
    root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (root < 0 || move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root) < 0)
        return fail_errno(err, errno, "a root of its own");
    return 0;
}

/* Below the working directory. What lies in what is placed already is there. */
static int place(const struct tree *tree, struct runner_error *err)
{
    auto_free char *path = mem_dup(tree->path + 1);

    for (char *p = path; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(path, 0755);
        *p = '/';
    }
    if (tree->is_file)
        (void)mknod(path, S_IFREG | 0444, 0);
    else
        (void)mkdir(path, 0755);
    if (move_mount(tree->fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail_errno(err, errno, "'%s'", tree->path);
    return 0;
}

static int enter(const struct view *v, struct runner_error *err)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

    if (new_root(err) < 0)
        return -1;
    if (!CONFINE_IS_SANITIZED) { /* libext2fs looks whether the disk is mounted: nothing is */
        (void)mkdir("proc", 0755);
        (void)mknod("proc/mounts", S_IFREG | 0444, 0);
    }
    for (size_t i = 0; i < v->n; i++)
        if (place(&v->trees[i], err) < 0)
            return -1;
    if (mount_setattr(AT_FDCWD, ".", 0, &read_only, sizeof read_only) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return fail_errno(err, errno, "a root of its own");
    return 0;
}

int confine_view(const struct confine *what, struct runner_error *err)
{
    struct view v = {.n = 0};
    mode_t mask = umask(022);
    int status = 1;

    /* Until here a host may refuse, or not know it (Linux 5.12); behind, it is half done. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        (void)fail_errno(err, errno, "a mount namespace");
    else if (take_all(&v, what, err) == 0)
        status = enter(&v, err);
    for (size_t i = 0; i < v.n; i++)
        close(v.trees[i].fd);
    free(v.resolver);
    (void)umask(mask);
    return status;
}
