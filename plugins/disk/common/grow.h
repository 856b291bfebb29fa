/* A qcow2 image that becomes larger by its header alone: the table of the first level has room in the clusters that it is
 * in (4 TiB a cluster of 64 KiB). No I/O. */
#ifndef DISK_GROW_H
#define DISK_GROW_H

#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"

#define GROW_HEAD  (1 << 20) /* bytes of the file's beginning that are looked at */
#define GROW_AT    24        /* where what changes is in the file: size, encryption, entries of the table */
#define GROW_BYTES 16

/* head: the file's first bytes, at most GROW_HEAD. 1: ret has what is to be written at GROW_AT; 0: it is that large; -1:
 * INVALID: it is larger, or no image that can be read; NOTSUP: it cannot grow so far. */
int grow_head(const char *head, size_t len, int64_t size_bytes, char ret[GROW_BYTES], struct runner_error *err);

#endif
