/* Manifests and indexes: Docker's schema 2 and OCI's. */
#ifndef OCI_MANIFEST_H
#define OCI_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define MANIFEST_MAX (4 << 20) /* bytes */

/* What is asked for, in order of preference. */
#define MANIFEST_ACCEPT                                                                                                \
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "             \
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

/* An image that is a disk as it is: pushed by us. */
#define MANIFEST_DISK_CONFIG "application/vnd.runner-ch.disk.config.v1+json"
#define MANIFEST_DISK_LAYER  "application/vnd.runner-ch.disk.layer.v1.raw+zstd"

struct descriptor {
    char *media_type;
    char *digest; /* "sha256:<hex>" */
    int64_t size_bytes;
};

struct manifest {
    bool is_index;
    char *media_type;
    char digest[65];          /* of its bytes, hexadecimal */
    struct descriptor config; /* of an image */
    struct descriptor *layers;
    size_t n_layers;
    struct descriptor chosen; /* of an index: the image for linux/amd64 */
    char *text;               /* the bytes */
    size_t len;
};

struct manifest_limits {
    int64_t bytes; /* of config and layers together */
    int64_t blobs;
};

/* content_type: of the answer; NULL: not said. The bytes are copied. INVALID: it is no manifest, or beyond a limit; NOTSUP:
 * of a kind that has no use here, or for other architectures, which are named. */
int manifest_parse(const char *text, size_t len, const char *content_type, const struct manifest_limits *limits,
                   struct manifest *ret, struct runner_error *err);
void manifest_done(struct manifest *manifest);

bool manifest_is_disk(const struct manifest *manifest);
int64_t manifest_size(const struct manifest *manifest); /* of its blobs, as they are kept */
/* NOTSUP: a layer of a kind that no disk can be made of. */
int manifest_check_layers(const struct manifest *manifest, struct runner_error *err);
/* What the image's configuration says: NOTSUP unless it is for linux/amd64. */
int manifest_check_platform(const char *config, size_t len, struct runner_error *err);

/* The digest of some bytes, as 64 digits. */
void manifest_hash(const void *data, size_t len, char ret_hex[65]);

#endif
