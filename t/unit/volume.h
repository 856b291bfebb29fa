/* For tests of volumes: a reader of ISO 9660 with Rock Ridge names. */
#ifndef UNIT_VOLUME_H
#define UNIT_VOLUME_H

#include <stddef.h>

#include "core/util/str.h"

enum { SECTOR = 2048 };

/* The file's bytes, which the caller frees, or NULL. */
char *volume_read(const struct str *iso, const char *name, size_t *ret_len);

#endif
