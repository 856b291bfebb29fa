/*
 * From the layers of a container image to a disk that a machine boots from: one ext4 file system in a sparse raw file.
 * The layers are read once, bottom first, as streams; no tar and no tree is unpacked, no privilege is needed. The memory
 * does not grow with the image's bytes, and with its number of entries only up to the bound.
 */
#ifndef OCI_CONVERT_H
#define OCI_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

/* Counts in the key of cached bases: another number, another disk from the same layers. */
#define CONVERT_VERSION 2

struct convert_layer {
    const char *path;       /* the blob */
    const char *media_type; /* of Docker or OCI: a tar, plain or by gzip or zstd; parameters behind a ';' are ignored */
    const char *name;       /* how errors call it: its digest */
    const char *digest;     /* what the blob's bytes must have as they are read, 64 hexadecimal digits; NULL: any */
};

/* No file is larger at any time, though holes are most of it. */
#define CONVERT_FILE_MAX ((INT64_C(1) << 40) + (INT64_C(1) << 36))

/* What an image may be; 0: the default, in brackets. */
struct convert_bounds {
    uint32_t layers;      /* [512] */
    uint32_t entries;     /* names in the tree at any time, and ten times as many in all layers [700000] */
    uint32_t depth;       /* components of a path [256] */
    uint32_t ratio;       /* unpacked bytes of a layer for each of its blob's, behind the first 64 MiB [200] */
    uint64_t total_bytes; /* unpacked, all layers [128 GiB] */
    uint64_t file_bytes;  /* of one file; what is a hole does not count [64 GiB] */
    uint64_t xattr_bytes; /* of one entry, names and values [4000: what the file system takes] */
};

struct convert_request {
    const struct convert_layer *layers; /* bottom first; none: an empty file system */
    size_t n_layers;
    const char *config; /* the image's configuration, JSON; its rootfs.diff_ids are what the layers must be, unpacked */
    size_t config_len;
    bool needs_diff_ids; /* it must have them; else one that has no rootfs says nothing of the layers */
    const char *path;    /* of the disk: made, must not exist */
    uint8_t uuid[16];    /* of the file system; the same request with the same one gives the same bytes */
    struct convert_bounds bounds;
    runner_progress_fn *progress; /* phase "convert", bytes of blobs; by the calling thread; NULL: nobody asks */
    int (*cancelled)(void *ctx);  /* 0, or RUNNER_E_CANCELLED or RUNNER_E_TIMEOUT; asked often; may be NULL */
    void *ctx;
};

struct convert_result {
    int64_t size_bytes; /* of the disk, as a guest sees it: room for the content and something to start with; resize2fs
                              grows it, mounted too */
    int64_t content_bytes; /* of it in use */
    uint32_t entries;      /* names in the tree */
    char *image_json;      /* of struct runner_base; the caller's, free() */
};

/*
 * Blocks; uses one more thread while it runs. The disk is on stable storage when it returns; on failure there is none.
 * Errors: INVALID the image is not what it should be or is beyond a bound, NOTSUP a media type, NOSPACE, IO, EXISTS the
 * path, CANCELLED, TIMEOUT. Those of a layer name it and the entry.
 */
int convert_image(const struct convert_request *, struct convert_result *ret, struct runner_error *err);

/* What an image's configuration says, at most CONVERT_CONFIG_MAX bytes of it. Strings are NULL where it says nothing. */
#define CONVERT_CONFIG_MAX (1 << 20)
#define VOLUMES_MAX        256
struct image_config {
    char *architecture, *os, *variant; /* as Go names them: amd64, arm64, linux */
    char (*diff_ids)[65]; /* of the layers, unpacked, as rootfs.diff_ids says them: 64 hexadecimal digits */
    size_t n_diff_ids;
    bool has_diff_ids; /* it says that there are none, too */
    char **volumes;    /* paths in the image, as it says them, at most VOLUMES_MAX */
    size_t n_volumes;
    struct str members; /* image_json but for init, an object that is not closed: json_add_text(), json_close() */
};
int image_config_read(const char *text, size_t len, struct image_config *ret, struct runner_error *err);
void image_config_done(struct image_config *);

#endif
