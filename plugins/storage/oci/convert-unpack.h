/* One way of packing: gzip, zstd, none. */
#ifndef OCI_CONVERT_UNPACK_H
#define OCI_CONVERT_UNPACK_H

#include "core/util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unpack_io {
    const uint8_t *in; /* what is left of the blob's bytes at hand */
    size_t in_len;
    uint8_t *out; /* room */
    size_t out_len;
};

struct unpack { /* one blob; one thread */
    const struct packing *packing;
    void *state;
    bool is_between; /* of the members or frames that a blob may have several of, none is begun: it may end here */
};

/* NOTSUP: not a tar's media type. */
int unpack_init(struct unpack *, const char *media_type, struct runner_error *err);
/* Moves on in both buffers, at least in one unless both are empty or full. INVALID: damaged, or not packed like this. */
int unpack_some(struct unpack *, struct unpack_io *, struct runner_error *err);
void unpack_done(struct unpack *);

#endif
