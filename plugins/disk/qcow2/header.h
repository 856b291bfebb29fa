/* The bytes of an empty qcow2 overlay (version 3, 64 KiB clusters, refcounts of 16 bits). No I/O. */
#ifndef QCOW2_HEADER_H
#define QCOW2_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define QCOW2_SIZE_MAX (INT64_C(16) << 40) /* bytes of a guest's disk; an L1 table of 256 KiB */
#define QCOW2_BACKING_MAX 1023             /* bytes of the backing file's name, by the format's specification */

struct qcow2_image {
    int64_t size_bytes;          /* virtual size: 512 to QCOW2_SIZE_MAX, a multiple of 512 */
    const char *backing_path;    /* absolute, at most QCOW2_BACKING_MAX bytes */
    const char *backing_format;  /* "raw", "qcow2" */
};

/*
 * *ret_head becomes the file's beginning up to its last byte that is not zero, and *ret_file_bytes its whole length: what
 * lies between is zero. INVALID when the image is not as described above. The caller frees the head.
 */
int qcow2_header(const struct qcow2_image *image, struct str *ret_head, int64_t *ret_file_bytes,
                 struct runner_error *err);

#endif
