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

/* Files and directory belong to root, with modes 0400 and 0500. label: at most 32 bytes. Any thread. The first volume of
 * files of these names and lengths takes some 0.2 ms, and such calls wait for each other; later ones take a tenth and have
 * the first one's time stamps. NOMEM, or IO with libisofs's word for it. */
int iso_build(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso, struct runner_error *err);

#endif
