/*
 * Sandboxes that an older runner left on a host: sandboxes/<id>/ with disk.qcow2 or disk.raw, `ip`, and a config.json
 * in one of two forms,
 *   a record: {"sandboxId", "cpus": 2, "memoryMB", "snapshot", "createdAt", ...}: cpus is a number
 *   a VMM's own configuration, which has an object there, and which the VMM's plugin reads (read_config).
 * Both are read and neither is written. Nothing of it is to be trusted: texts are bounded, and of paths only those of
 * the sandbox's own directory, or beside those of all sandboxes below the host's root, are accepted.
 *
 * This file computes: no I/O, any thread. core/takeover.c reads the files.
 */
#ifndef CORE_FOREIGN_H
#define CORE_FOREIGN_H

#include <stdbool.h>

#include "core/record.h"
#include "core/util/cleanup.h"

#define FOREIGN_CONFIG_MAX (256 * 1024) /* bytes */
#define FOREIGN_IP_MAX     64

/* What is known of one; each member may be unset. */
struct foreign {
    char *snapshot;
    uint32_t cpus;
    int64_t memory_bytes, created_ms;
    char *kernel, *initramfs, *cmdline, *firmware, *disk_path;
    char *extra; /* a member of its configuration that has no place in a sandbox */
    char tap[16], mac[18], address[46];
};

void foreign_done(struct foreign *foreign);
#define auto_foreign CLEANUP(foreign_done)
#define FOREIGN_INIT                                                                                                   \
    {                                                                                                                  \
        .cpus = 0                                                                                                      \
    }

enum foreign_form { FOREIGN_RECORD, FOREIGN_CONFIG /* a VMM's */ };

/* Which form a config.json has. INVALID, as everywhere here, names the member that is wrong. */
int foreign_form(const char *text, size_t len, enum foreign_form *ret, struct runner_error *err);
/* Of the form FOREIGN_RECORD. */
int foreign_read_record(const char *text, size_t len, const char *id, struct foreign *foreign,
                        struct runner_error *err);
/* The file `ip`: an IPv4 address, perhaps with "/24" behind it. */
int foreign_read_ip(const char *text, size_t len, struct foreign *foreign, struct runner_error *err);
/* What a VMM says counts more than what was there before. */
int foreign_take_machine(struct foreign *foreign, const struct runner_machine *machine, struct runner_error *err);

void foreign_release(struct runner_machine *machine); /* its strings, which a plugin handed over */

/* Whether a path is one that the sandbox may use: in its own directory (is_own), or below root and in no sandbox's
 * directory but its own. member: what the error calls it. */
int foreign_check_path(const char *root, const char *id, const char *member, const char *path, bool is_own,
                       struct runner_error *err);

/* The snapshot that an image below <root>/snapshots belongs to: its ref, the caller's to free; NULL: none. */
char *foreign_snapshot_of(const char *root, const char *image_path);

#endif
