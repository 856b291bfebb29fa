/* By docs/interop/qcow2.txt of QEMU. */
#include "plugins/disk/common/inspect.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

enum {
    HEADER_V2 = 72,
    HEADER_V3 = 104,
    CLUSTER_BITS_MIN = 9,
    CLUSTER_BITS_MAX = 21,
    FEATURE_DIRTY = 1, /* refcounts may be stale: a VMM repairs that when it opens the image */
    EXTENSION_END = 0
};
#define EXTENSION_BACKING_FORMAT 0xe2792acau

struct head {
    const char *data;
    size_t len;
    uint32_t version, header_len, cluster_bits;
    uint64_t backing_at;
    uint32_t backing_len;
};

void inspected_done(struct inspected *image)
{
    free(image->backing_path);
    free(image->backing_format);
}

static uint32_t get32(const struct head *head, size_t at)
{
    uint32_t value;

    memcpy(&value, head->data + at, sizeof value);
    return be32toh(value);
}

static uint64_t get64(const struct head *head, size_t at)
{
    uint64_t value;

    memcpy(&value, head->data + at, sizeof value);
    return be64toh(value);
}

static int refuse(struct runner_error *err, const char *what, uint64_t value)
{
    return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: %s is %" PRIu64, what, value);
}

static int read_fixed(struct head *head, struct inspected *ret, struct runner_error *err)
{
    uint64_t features, size;

    if (head->len < HEADER_V2)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: its head ends after %zu bytes", head->len);
    head->version = get32(head, 4);
    if (head->version != 2 && head->version != 3)
        return refuse(err, "its version", head->version);
    if (head->version == 3 && head->len < HEADER_V3)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: its head ends after %zu bytes", head->len);
    head->header_len = head->version == 2 ? HEADER_V2 : get32(head, 100);
    head->cluster_bits = get32(head, 20);
    size = get64(head, 24);
    features = head->version == 2 ? 0 : get64(head, 72);
    if (head->header_len < HEADER_V2 || head->header_len > head->len)
        return refuse(err, "the length of its head", head->header_len);
    if (head->cluster_bits < CLUSTER_BITS_MIN || head->cluster_bits > CLUSTER_BITS_MAX)
        return refuse(err, "the logarithm of its cluster size", head->cluster_bits);
    if (size < 512 || size > DISK_SIZE_MAX || size % 512 != 0)
        return refuse(err, "its disk's size", size);
    if (get32(head, 32) != 0)
        return refuse(err, "its encryption", get32(head, 32));
    if (features & ~(uint64_t)FEATURE_DIRTY) /* damaged, data in another file, ... */
        return refuse(err, "the set of its incompatible features", features);
    ret->size_bytes = (int64_t)size;
    return 0;
}

/* Of extensions "type, length, data", each to a multiple of 8 bytes. */
static int read_format(const struct head *head, struct inspected *ret, struct runner_error *err)
{
    size_t at = head->header_len;

    while (at + 8 <= head->len && at + 8 <= head->backing_at) {
        uint32_t type = get32(head, at), len = get32(head, at + 4);

        if (type == EXTENSION_END)
            break;
        if (len > head->len - at - 8)
            return refuse(err, "the length of a header extension", len);
        if (type == EXTENSION_BACKING_FORMAT) {
            ret->backing_format = mem_dup_n(head->data + at + 8, len);
            break;
        }
        at += 8 + ((size_t)len + 7) / 8 * 8;
    }
    if (ret->backing_format == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: it does not say which format its backing image has");
    if (strcmp(ret->backing_format, "raw") != 0 && strcmp(ret->backing_format, "qcow2") != 0)
        return fail(err, RUNNER_E_INVALID, 0,
                    "qcow2 image: its backing image has the format '%.20s', neither raw nor qcow2",
                    ret->backing_format);
    return 0;
}

static int read_backing(struct head *head, struct inspected *ret, struct runner_error *err)
{
    const char *path;

    head->backing_at = get64(head, 8);
    head->backing_len = get32(head, 16);
    if (head->backing_at == 0)
        return 0;
    if (head->backing_len < 1 || head->backing_len > QCOW2_BACKING_MAX)
        return refuse(err, "the length of its backing image's name", head->backing_len);
    if (head->backing_len > head->len || head->backing_at < head->header_len ||
        head->backing_at > head->len - head->backing_len)
        return refuse(err, "the place of its backing image's name", head->backing_at);
    path = head->data + head->backing_at;
    if (memchr(path, '\0', head->backing_len) != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: its backing image's name has a NUL");
    ret->backing_path = mem_dup_n(path, head->backing_len);
    if (ret->backing_path[0] != '/' && strchr(ret->backing_path, ':') != NULL) /* "json:", "nbd:" */
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: its backing image '%.80s' is no file", ret->backing_path);
    return read_format(head, ret, err);
}

int inspect_head(const char *data, size_t len, int64_t file_bytes, struct inspected *ret, struct runner_error *err)
{
    struct head head = {.data = data, .len = len};

    *ret = (struct inspected){.is_qcow2 = len >= 4 && memcmp(data, "QFI\xfb", 4) == 0};
    if (ret->is_qcow2)
        return read_fixed(&head, ret, err) < 0 ? -1 : read_backing(&head, ret, err);
    if (file_bytes < 512 || file_bytes % 512 != 0 || file_bytes > DISK_SIZE_MAX)
        return fail(err, RUNNER_E_INVALID, 0,
                    "raw image: its size of %" PRId64 " bytes is not a positive multiple of 512", file_bytes);
    ret->size_bytes = file_bytes;
    return 0;
}
