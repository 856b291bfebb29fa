/* Texts of the kernel's, as hosts have them. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/procfs.h"

Test(procfs, meminfo)
{
    static const char text[] =
        "MemTotal:       24684084 kB\nMemAvailable:   24283948 kB\nHugePages_Total:       7\n"
        "HugePages_Free:        \nHugepagesize:       2048 kB\nX:  99999999999999999999 kB\nLast: 3";
    int64_t n = -1;

    cr_expect(procfs_meminfo(text, "MemTotal", &n) && n == 24684084);
    cr_expect(procfs_meminfo(text, "HugePages_Total", &n) && n == 7);
    cr_expect(procfs_meminfo(text, "Last", &n) && n == 3, "without a newline at the end");
    n = -1;
    cr_expect_not(procfs_meminfo(text, "HugePages", &n), "a beginning of a key");
    cr_expect_not(procfs_meminfo(text, "HugePages_Free", &n), "no number");
    cr_expect_not(procfs_meminfo(text, "X", &n), "more than 64 bits");
    cr_expect_not(procfs_meminfo("", "MemTotal", &n));
    cr_expect_eq(n, -1, "untouched");
}

static const char mounts[] = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
                             "22 21 0:20 / /proc rw - proc proc rw\n"
                             "23 21 0:21 / /srv/with\\040blank ro,noatime master:1 propagate_from:2 - xfs /dev/vdb ro\n"
                             "24 21 0:22 / /srv rw - btrfs /dev/vdc rw\n"
                             "25 21 0:23 / /srv rw - tmpfs none rw\n"
                             "26 21 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
                             "a line of nothing\n\n"
                             "27 21 0:25 / /cut rw";

Test(procfs, cpus_that_are_online)
{
    static const struct {
        const char *text;
        int64_t n;
    } cases[] = {{"0\n", 1},      {"0-1\n", 2}, {"0-3,6,8-9\n", 7}, {"0-1023", 1024}, {"", 0},       {"\n", 0},
                 {"none\n", 0},   {"3-1\n", 0}, {"0-\n", 0},        {"0,\n", 0},     {"0-1 x\n", 0}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_eq(procfs_cpus(cases[i].text), cases[i].n, "'%s'", cases[i].text);
}

Test(procfs, mount_that_holds_a_path)
{
    static const struct {
        const char *path, *point, *type;
        bool is_readonly;
    } cases[] = {
        {"/", "/", "ext4", false},
        {"/srvx/a", "/", "ext4", false},
        {"/srv", "/srv", "tmpfs", false}, /* the later one hides the earlier */
        {"/srv/with", "/srv", "tmpfs", false},
        {"/srv/with blank/a", "/srv/with blank", "xfs", true},
        {"/proc/self", "/proc", "proc", false},
        {"/cut/a", "/", "ext4", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct procfs_mount mount = {NULL, NULL, false};

        cr_assert(procfs_mount_of(mounts, cases[i].path, &mount), "%s", cases[i].path);
        cr_expect_str_eq(mount.point, cases[i].point, "%s: %s", cases[i].path, mount.point);
        cr_expect_str_eq(mount.type, cases[i].type, "%s: %s", cases[i].path, mount.type);
        cr_expect_eq(mount.is_readonly, cases[i].is_readonly, "%s", cases[i].path);
        procfs_mount_done(&mount);
    }
}

Test(procfs, mount_of_a_type)
{
    struct procfs_mount mount = {NULL, NULL, false};

    cr_expect_not(procfs_mount_of("", "/", &mount));
    cr_expect_not(procfs_mount_of("28 21 0:22 /  rw - a b c\n", "/a", &mount), "no mount point");
    cr_expect_not(procfs_mount_by_type(mounts, "cgroup", &mount));
    cr_assert(procfs_mount_by_type(mounts, "cgroup2", &mount));
    cr_expect_str_eq(mount.point, "/sys/fs/cgroup/unified");
    procfs_mount_done(&mount);
}

Test(procfs, load_and_usage)
{
    struct procfs_usage usage = {-1, -1};
    double load = -1;

    cr_expect(procfs_load("0.20 0.18 1.12 1/80 11206\n", &load) && load == 1.12);
    cr_expect_not(procfs_load("0.20 0.18 1e300\n", &load));
    cr_expect_not(procfs_load("0.20\n", &load));
    cr_assert(procfs_usage("7 (a) b)) S 1 7 7 0 -1 4194560 9 0 5 0 150 50 0 0 20 0 9 0 12 34 5555 99 1 1", &usage));
    cr_expect_eq(usage.cpu_ms, 200 * 1000 / sysconf(_SC_CLK_TCK));
    cr_expect_eq(usage.rss_bytes, 5555 * sysconf(_SC_PAGESIZE));
    cr_expect_not(procfs_usage("7 (a) S 1 7 7 0 -1 4194560 9 0 5 0 150 50", &usage), "cut");
    cr_expect_not(procfs_usage("7 (a) S 1 7 7 0 -1 0 9 0 5 0 1 5 0 0 20 0 9 0 12 34 18446744073709551615 9", &usage),
                  "more than a machine has");
    cr_expect_not(procfs_usage("", &usage));
}

Test(procfs, words)
{
    cr_expect(procfs_has_word("flags\t\t: fpu vmx sse\n", "vmx"));
    cr_expect(procfs_has_word("vmx", "vmx"));
    cr_expect_not(procfs_has_word("flags: vmxx avmx\n", "vmx"));
    cr_expect_not(procfs_has_word("", "vmx"));
    cr_expect_eq(procfs_release("6.18.44-fc-v669\n"), 6018);
    cr_expect_eq(procfs_release("5.4"), 5004);
    cr_expect_eq(procfs_release("Darwin"), 0);
    cr_expect_eq(procfs_release("6"), 0);
}
