/* Files for another program, in tests that ask one. */
#ifndef UNIT_SCRATCH_H
#define UNIT_SCRATCH_H

#include <stddef.h>

/* A folder with the file `in`; `out` is where a program writes. */
struct scratch {
    char dir[32], in[64], out[64];
};
void scratch_make(struct scratch *s, const void *data, size_t len);
void scratch_read(const struct scratch *s, char *text, size_t size); /* of `out`, cut to size */
void scratch_remove(const struct scratch *s);

#endif
