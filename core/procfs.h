/* Texts of the kernel's that a host was read for. Nothing here opens anything: the host may be another machine. */
#ifndef CORE_PROCFS_H
#define CORE_PROCFS_H

#include <stdbool.h>
#include <stdint.h>

/* /proc/meminfo, "HugePages_Total:       0": the number behind the key, without its unit. */
bool procfs_meminfo(const char *text, const char *key, int64_t *ret);

/* /sys/devices/system/cpu/online, "0-3,6": how many there are; 0: no such text. */
int64_t procfs_cpus(const char *text);

/* /proc/loadavg: the average over 15 minutes. */
bool procfs_load(const char *text, double *ret);

/* The first line of /proc/stat, of all processors: ticks since the boot in which they worked (for a hypervisor above this
 * one, too), and all ticks. */
bool procfs_cpu_ticks(const char *text, int64_t *ret_busy, int64_t *ret_total);

/* /proc/<pid>/stat. cpu_ms: of user and system; both are of this machine's tick and page. */
struct procfs_usage {
    int64_t cpu_ms, rss_bytes;
};
bool procfs_usage(const char *text, struct procfs_usage *ret);

struct procfs_mount {
    char *point, *type;
    bool is_readonly;
};
void procfs_mount_done(struct procfs_mount *mount);

/* /proc/self/mountinfo (proc(5)): the file system that holds path, which is absolute and without "..". */
bool procfs_mount_of(const char *mountinfo, const char *path, struct procfs_mount *ret);
/* The first one of a type. */
bool procfs_mount_by_type(const char *mountinfo, const char *type, struct procfs_mount *ret);

/* Whether word stands among those of a line, separated by blanks. */
bool procfs_has_word(const char *text, const char *word);

/* /proc/sys/kernel/osrelease, "6.1.0-49-amd64": major * 1000 + minor; 0: no such text. */
int procfs_release(const char *text);

#endif
