/* For tests of volumes: a reader of ISO 9660 with Rock Ridge names, and files for other programs. */
#ifndef UNIT_VOLUME_H
#define UNIT_VOLUME_H

#include <stddef.h>

#include "core/util/str.h"

enum { SECTOR = 2048 };

/* The file's bytes, which the caller frees, or NULL. */
char *volume_read(const struct str *iso, const char *name, size_t *ret_len);

/* A folder with the file `in`; `out` is where a program writes. */
struct scratch {
    char dir[32], in[64], out[64];
};
void scratch_make(struct scratch *s, const void *data, size_t len);
void scratch_read(const struct scratch *s, char *text, size_t size); /* of `out`, cut to size */
void scratch_remove(const struct scratch *s);

#endif
