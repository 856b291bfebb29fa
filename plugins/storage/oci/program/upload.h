/* Into a registry: blobs that it does not have, and manifests. */
#ifndef OCI_UPLOAD_H
#define OCI_UPLOAD_H

#include "plugins/storage/oci/program/registry.h"

/* Whether the registry has the blob. 1, 0, or -1. */
int upload_has_blob(struct registry *registry, const char *digest, struct runner_error *err);
/* Makes the registry take it from another path of its own: 1; 0: it does not, and has to be sent. */
int upload_mount(struct registry *registry, const char *digest, const char *from_path, struct runner_error *err);

/* Sends size bytes of descriptor fd, from its beginning, as the blob; already, total: for the progress. What breaks off goes
 * on from where the registry says that it is. */
int upload_blob(struct registry *registry, const struct descriptor *d, int fd, int64_t already, int64_t total,
                struct runner_error *err);
/* The first byte that an upload lacks, of what the registry says it has: "0-1023" is 1024; -1: it says something else. */
int64_t upload_next(const char *range);
/* The manifest under the reference of the registry's object, byte for byte. */
int upload_manifest(struct registry *registry, const struct manifest *manifest, struct runner_error *err);
/* Whether that reference stands for this manifest already: 1, 0, -1. */
int upload_is_there(struct registry *registry, const char digest[65], struct runner_error *err);

#endif
