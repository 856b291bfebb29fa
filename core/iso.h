/* A small ISO 9660 volume (Rock Ridge, Joliet) as bytes in memory. The one place that includes libisofs. */
#ifndef CORE_ISO_H
#define CORE_ISO_H

#include <stddef.h>

#include "core/util/error.h"
#include "core/util/str.h"

struct iso_file {
    const char *name; /* in the root directory */
    const void *data;
    size_t len;
};

/* Files and directory belong to root, with modes 0400 and 0500. label: at most 32 bytes. Any thread; calls that overlap
 * wait for each other (some 0.1 ms). NOMEM, or IO with libisofs's word for it. */
int iso_build(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso,
              struct runner_error *err);

#endif
