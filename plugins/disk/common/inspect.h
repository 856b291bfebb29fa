/* What an image is that another program made, by the bytes of its head. Nothing of them is to be trusted. No I/O. */
#ifndef DISK_INSPECT_H
#define DISK_INSPECT_H

#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/disk/common/limits.h"

#define INSPECT_HEAD (64 * 1024) /* bytes; the backing file's name is within the first cluster, which may be larger */

struct inspected {
    bool is_qcow2; /* else raw */
    int64_t size_bytes;
    char *backing_path; /* as it stands there, may be relative; NULL: none */
    char *backing_format;
};

void inspected_done(struct inspected *image);
#define auto_inspected CLEANUP(inspected_done)

/* head: the file's first bytes, at most INSPECT_HEAD; file_bytes: its size. INVALID says what it is instead of an image
 * that a sandbox can have. ret is initialized, and the caller's to end, whatever happens. */
int inspect_head(const char *head, size_t len, int64_t file_bytes, struct inspected *ret, struct runner_error *err);

#endif
