/*
 * The tars in the layers' blobs, one after another. A thread of its own reads and unpacks ahead, a few chunks; it and the
 * one that takes them never touch the same chunk.
 */
#ifndef OCI_CONVERT_STREAM_H
#define OCI_CONVERT_STREAM_H

#include "plugins/storage/oci/convert.h"

struct stream;

/* Begins. layers, diff_ids and bounds are valid until stream_close(); no bound is 0. diff_ids: of each layer what its tar must
 * be, or NULL: anything. NOTSUP: a media type. */
int stream_open(const struct convert_layer *layers, size_t n, const char (*diff_ids)[65], const struct convert_bounds *,
                struct stream **ret, struct runner_error *err);
/* The next bytes of the current layer: their number, 0 at its end, or -1, for the last ones also when the tar was another
 * (INVALID). *ret is valid until the next call. */
ssize_t stream_read(struct stream *, const void **ret, struct runner_error *err);
/* On to the next layer, when stream_read() has said 0. */
void stream_next(struct stream *);
uint64_t stream_taken(struct stream *); /* bytes of blobs that were read */
uint64_t stream_total(const struct stream *);
void stream_close(struct stream *); /* ends the thread; takes NULL */
CLEANUP_DEFINE(cleanup_stream, struct stream, stream_close)

#endif
