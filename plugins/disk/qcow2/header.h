/* The bytes of an empty qcow2 overlay (version 3, 64 KiB clusters, refcounts of 16 bits). No I/O. */
#ifndef QCOW2_HEADER_H
#define QCOW2_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/disk/common/limits.h"

struct qcow2_image {
    int64_t size_bytes;         /* virtual size: 512 to DISK_SIZE_MAX, a multiple of 512 */
    const char *backing_path;   /* absolute, at most QCOW2_BACKING_MAX bytes */
    const char *backing_format; /* "raw", "qcow2" */
};

#define QCOW2_PARTS 3

/* What the file holds; all else in it is zero. */
struct qcow2_file {
    struct qcow2_part {
        int64_t at; /* bytes from the file's beginning, ascending; the first at 0 */
        struct str data;
    } parts[QCOW2_PARTS];
    int64_t size_bytes;
};
#define QCOW2_FILE_INIT                                                                                                \
    {                                                                                                                  \
        .size_bytes = 0                                                                                                \
    }

void qcow2_file_done(struct qcow2_file *file);
static inline void cleanup_qcow2_file(struct qcow2_file *file)
{
    qcow2_file_done(file);
}
#define auto_qcow2_file CLEANUP(cleanup_qcow2_file)

/* INVALID when the image is not as described above. ret_file is initialized, and the caller's to end, whatever happens. */
int qcow2_header(const struct qcow2_image *image, struct qcow2_file *ret_file, struct runner_error *err);

#endif
