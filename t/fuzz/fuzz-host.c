/* Texts that a host and the daemon in a guest are read by: what the kernel says of itself and of a process, the mounts,
 * the reply of the daemon. */
#include <string.h>

#include "core/guest.h"
#include "core/procfs.h"
#include "core/uids.h"
#include "core/util/str.h"
#include "t/fuzz/fuzz.h"

static void read_kernel(const char *text)
{
    struct procfs_usage usage;
    double load;
    int64_t number;

    if (procfs_meminfo(text, "MemTotal", &number))
        need(number >= 0);
    if (procfs_usage(text, &usage))
        need(usage.cpu_ms >= 0 && usage.rss_bytes >= 0);
    if (procfs_load(text, &load))
        need(load >= 0 && load < 1e9);
    need(procfs_release(text) >= 0);
    need(procfs_cpus(text) >= 0);
    (void)procfs_has_word(text, "landlock");
}

static void read_mounts(const char *text)
{
    struct procfs_mount mount = {NULL, NULL, false};

    if (procfs_mount_of(text, "/var/lib/x", &mount))
        need(mount.point[0] != '\0' && strlen(mount.point) <= strlen("/var/lib/x"));
    procfs_mount_done(&mount);
    if (procfs_mount_by_type(text, "cgroup2", &mount))
        need(strcmp(mount.type, "cgroup2") == 0);
    procfs_mount_done(&mount);
}

static void read_daemon(const char *text, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *version = NULL;

    (void)guest_reply_is_whole(text, size);
    if (guest_reply_version(text, &version, &err) < 0)
        need_reason(&err);
    else
        need(strlen(version) <= GUEST_VERSION_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size);
    uint32_t first, n;

    read_kernel(text);
    read_mounts(text);
    read_daemon(text, strlen(text));
    if (uids_parse(text, &first, &n))
        need(n == 0 || first + (n - 1) >= first);
    return 0;
}
