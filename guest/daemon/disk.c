#include "guest/daemon/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "core/util/num.h"
#include "core/util/str.h"

/* Linux, fs/ext4/ext4.h; no header for programs has it. */
#define IOC_RESIZE_FS _IOW('f', 16, uint64_t)

#define NEW_ROOT "/newroot"

static int mount_at(const char *what, const char *where, const char *type, unsigned long flags, const char *data,
                    struct runner_error *err)
{
    if (mkdir(where, 0755) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "make '%s'", where);
    if (mount(what, where, type, flags, data) < 0 && errno != EBUSY)
        return fail_errno(err, errno, "mount '%s' (%s) on '%s'", what, type, where);
    return 0;
}

int disk_mount_kernel(struct runner_error *err)
{
    if (mount_at("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err) < 0 ||
        mount_at("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err) < 0)
        return -1;
    return mount_at("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", err);
}

void disk_mount_run(void)
{
    (void)mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=25%", NULL);
}

void disk_mount_system(void)
{
    (void)mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666", NULL);
    (void)mount_at("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", NULL);
    disk_mount_run();
    (void)mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, NULL);
    (void)symlink("/proc/self/fd", "/dev/fd");
    (void)symlink("/proc/self/fd/0", "/dev/stdin");
    (void)symlink("/proc/self/fd/1", "/dev/stdout");
    (void)symlink("/proc/self/fd/2", "/dev/stderr");
    (void)mkdir("/tmp", 01777);
    (void)chmod("/tmp", 01777); /* whatever the image's builder, or the umask, made of it */
}

int disk_await(const char *device, int timeout_ms, struct runner_error *err)
{
    auto_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct pollfd p = {.fd = watch, .events = POLLIN};
    int64_t end = num_now_ms() + timeout_ms;
    char buffer[4096];

    if (watch < 0 || inotify_add_watch(watch, "/dev", IN_CREATE | IN_MOVED_TO) < 0)
        return fail_errno(err, errno, "watch /dev");
    while (access(device, F_OK) < 0) {
        int64_t left = end - num_now_ms();
        if (left <= 0)
            return fail(err, RUNNER_E_TIMEOUT, 0, "no '%s' within %d ms", device, timeout_ms);
        (void)poll(&p, 1, (int)left);
        while (read(watch, buffer, sizeof buffer) > 0)
            ;
    }
    return 0;
}

/* ---- the seed's volume ---- */

/* ECMA-119: the primary volume descriptor is sector 16; its label is 32 characters at byte 40, padded with blanks. */
static bool has_label(const char *device, const char *label)
{
    auto_close int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char sector[2048];
    size_t len = strlen(label);

    if (fd < 0 || pread(fd, sector, sizeof sector, 16 * 2048) != (ssize_t)sizeof sector)
        return false;
    return memcmp(sector + 1, "CD001", 5) == 0 && strncasecmp(sector + 40, label, len) == 0 &&
           strspn(sector + 40 + len, " ") >= 32 - len;
}

int disk_find_iso(const char *label, char **ret, struct runner_error *err)
{
    auto_dir DIR *dir = opendir("/sys/class/block");
    const struct dirent *entry;

    if (dir == NULL)
        return fail_errno(err, errno, "open /sys/class/block");
    while ((entry = readdir(dir)) != NULL) {
        auto_free char *path = mem_printf("/dev/%s", entry->d_name);
        if (entry->d_name[0] == '.' || !has_label(path, label))
            continue;
        *ret = path;
        path = NULL;
        return 0;
    }
    return fail(err, RUNNER_E_NOTFOUND, 0, "no disk is labelled '%s'", label);
}

/* ---- the root disk ---- */

/* Removes everything below dir that is on the same file system; takes the descriptor. The initramfs is memory. */
static void empty(int fd, dev_t device, int depth)
{
    DIR *dir = depth < 16 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    struct stat st;

    if (dir == NULL) {
        close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device)
            continue;
        if (S_ISDIR(st.st_mode)) {
            int child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (child >= 0)
                empty(child, device, depth + 1);
        }
        (void)unlinkat(fd, entry->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
    }
    closedir(dir);
}

static int move_mounts(struct runner_error *err)
{
    static const char *const moved[] = {"/proc", "/sys", "/dev"};

    for (size_t i = 0; i < ARRAY_LEN(moved); i++) {
        auto_free char *to = mem_printf("%s%s", NEW_ROOT, moved[i]);
        if (mkdir(to, 0755) < 0 && errno != EEXIST)
            return fail_errno(err, errno, "make '%s' on the root disk", moved[i]);
        if (mount(moved[i], to, NULL, MS_MOVE, NULL) < 0)
            return fail_errno(err, errno, "move '%s' to the root disk", moved[i]);
    }
    return 0;
}

int disk_switch_root(const char *device, struct runner_error *err)
{
    int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    if (old < 0 || fstat(old, &st) < 0)
        return fail_errno(err, errno, "open the initramfs");
    if (mount_at(device, NEW_ROOT, "ext4", MS_RELATIME, NULL, err) < 0 || move_mounts(err) < 0) {
        close(old);
        return -1;
    }
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) {
        close(old);
        return fail_errno(err, errno, "switch to the root disk");
    }
    empty(old, st.st_dev, 0);
    return 0;
}

int disk_grow_root(const char *device, struct runner_error *err)
{
    auto_close int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_close int disk = open(device, O_RDONLY | O_CLOEXEC);
    struct statfs fs;
    uint64_t bytes, blocks;

    if (root < 0 || disk < 0 || fstatfs(root, &fs) < 0 || ioctl(disk, BLKGETSIZE64, &bytes) < 0)
        return fail_errno(err, errno, "size of '%s'", device);
    blocks = bytes / (uint64_t)fs.f_bsize;
    /* The kernel refuses to shrink (EINVAL), and growing to the present size does nothing. */
    if (ioctl(root, IOC_RESIZE_FS, &blocks) < 0 && errno != EINVAL)
        return fail_errno(err, errno, "grow the root file system to %llu bytes", (unsigned long long)bytes);
    return 0;
}

void disk_detach(void)
{
    sync();
    (void)mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    sync();
}
