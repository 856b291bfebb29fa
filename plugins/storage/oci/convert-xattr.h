/* Extended attributes of one entry as ext4 keeps them: in the inode what fits there, else all in a block. */
#ifndef OCI_CONVERT_XATTR_H
#define OCI_CONVERT_XATTR_H

#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"

#define XATTR_MAX 64 /* of one entry */

struct xattr {
    const char *name; /* behind the prefix that index stands for */
    size_t name_len;
    uint8_t index;
    const uint8_t *value;
    size_t value_len;
    uint8_t *made; /* the value where it had to be converted; to be freed */
};

struct xattrs {
    struct xattr v[XATTR_MAX];
    size_t n, bytes;
};

/* Name and value stay the caller's until xattrs_done(). One that is there already is replaced; left out are
 * what Linux would not keep on ext4 (another system's attributes), the labels of the builder's SELinux, and those without a
 * value, which in a PAX header means that there is none. INVALID: it cannot be kept. */
int xattrs_add(struct xattrs *, const char *name, const void *value, size_t value_len, struct runner_error *err);
/* Into area, zeroed, of size bytes behind the header: 0, or -1: it is too small. base: what offsets count from. is_hashed:
 * as in blocks. */
int xattrs_write(struct xattrs *, uint8_t *area, size_t size, const uint8_t *base, int is_hashed);
void xattrs_done(struct xattrs *);

#endif
