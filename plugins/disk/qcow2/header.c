/*
 * Layout, by docs/interop/qcow2.txt of QEMU: cluster 0 header, extensions and backing file name; 1 refcount table; 2 the
 * only refcount block; from 3 the L1 table. An empty L1 table is zero, so that the file's tail needs no data.
 */
#include "plugins/disk/qcow2/header.h"

#include <endian.h>
#include <string.h>

enum {
    CLUSTER_BITS = 16,
    CLUSTER = 1 << CLUSTER_BITS,
    REFCOUNT_TABLE = 1, /* clusters */
    REFCOUNT_BLOCK = 2,
    L1_TABLE = 3,
    HEADER_LENGTH = 104,
    EXTENSION_BACKING_FORMAT = (int)0xe2792aca
};

/* An L1 entry stands for an L2 table of one cluster, whose entries of 8 bytes stand for a cluster each. */
#define L1_ENTRY_BYTES ((int64_t)(CLUSTER / 8) * CLUSTER)

static void put32(char *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(char *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof value);
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int check(const struct qcow2_image *image, struct runner_error *err)
{
    size_t path_len = strlen(image->backing_path);

    if (image->size_bytes < 512 || image->size_bytes % 512 != 0)
        return fail(err, RUNNER_E_INVALID, 0, "disk size %lld bytes is not a positive multiple of 512",
                    (long long)image->size_bytes);
    if (image->size_bytes > DISK_SIZE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "disk size %lld bytes is more than the limit of %lld",
                    (long long)image->size_bytes, (long long)DISK_SIZE_MAX);
    if (image->backing_path[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "base image '%s' is not an absolute path", image->backing_path);
    if (path_len > QCOW2_BACKING_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "the path of the base image has %zu bytes, more than %d: '%.80s...'",
                    path_len, QCOW2_BACKING_MAX, image->backing_path);
    return 0;
}

static void zeros(struct str *s, size_t len)
{
    str_reserve(s, len);
    memset(s->ptr, 0, len + 1);
    s->len = len;
}

/* Cluster 0: the fixed part, the backing format's extension, the end of extensions (zero), the backing file's name. */
static void put_header(struct str *head, const struct qcow2_image *image)
{
    uint32_t format_len = (uint32_t)strlen(image->backing_format), path_len = (uint32_t)strlen(image->backing_path);
    uint32_t path_at = HEADER_LENGTH + 8 + (format_len + 7) / 8 * 8 + 8;
    char *at;

    zeros(head, path_at + path_len);
    at = head->ptr;
    memcpy(at, "QFI\xfb", 4);
    put32(at + 4, 3); /* version */
    put64(at + 8, path_at);
    put32(at + 16, path_len);
    put32(at + 20, CLUSTER_BITS);
    put64(at + 24, (uint64_t)image->size_bytes);
    put32(at + 36, (uint32_t)divide_up(image->size_bytes, L1_ENTRY_BYTES));
    put64(at + 40, (uint64_t)L1_TABLE * CLUSTER);
    put64(at + 48, (uint64_t)REFCOUNT_TABLE * CLUSTER);
    put32(at + 56, 1);              /* clusters of the refcount table */
    put32(at + 96, 4);              /* refcounts of 1 << 4 bits */
    put32(at + 100, HEADER_LENGTH); /* feature bits at 72 to 95 stay zero: no lazy refcounts */
    put32(at + HEADER_LENGTH, (uint32_t)EXTENSION_BACKING_FORMAT);
    put32(at + HEADER_LENGTH + 4, format_len);
    memcpy(at + HEADER_LENGTH + 8, image->backing_format, format_len);
    memcpy(at + path_at, image->backing_path, path_len);
}

int qcow2_header(const struct qcow2_image *image, struct qcow2_file *ret_file, struct runner_error *err)
{
    struct qcow2_part *parts = ret_file->parts;
    int64_t l1_bytes, clusters;

    if (check(image, err) < 0)
        return -1;
    l1_bytes = divide_up(image->size_bytes, L1_ENTRY_BYTES) * 8;
    clusters = L1_TABLE + divide_up(l1_bytes, CLUSTER);
    put_header(&parts[0].data, image);
    parts[1].at = (int64_t)REFCOUNT_TABLE * CLUSTER;
    zeros(&parts[1].data, 8);
    put64(parts[1].data.ptr, (uint64_t)REFCOUNT_BLOCK * CLUSTER);
    parts[2].at = (int64_t)REFCOUNT_BLOCK * CLUSTER;
    zeros(&parts[2].data, 2 * (size_t)clusters);
    for (int64_t i = 0; i < clusters; i++)
        parts[2].data.ptr[2 * i + 1] = 1;
    ret_file->size_bytes = clusters * CLUSTER;
    return 0;
}

void qcow2_file_done(struct qcow2_file *file)
{
    for (size_t i = 0; i < QCOW2_PARTS; i++)
        str_done(&file->parts[i].data);
}
