/* By docs/interop/qcow2.txt of QEMU. */
#include "plugins/disk/common/grow.h"

#include <endian.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "plugins/disk/common/limits.h"

enum { HEADER_V2 = 72, CLUSTER_BITS_MIN = 9, CLUSTER_BITS_MAX = 21 };

struct table {            /* of the first level */
    uint64_t at, n, room; /* bytes; entries, and how many are in its clusters */
    uint64_t entry_bytes; /* that an entry stands for */
};

static uint32_t get32(const char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

static uint64_t get64(const char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return be64toh(value);
}

static int read_table(const char *head, size_t len, struct table *ret, struct runner_error *err)
{
    uint32_t bits;
    uint64_t cluster;

    if (len < HEADER_V2 || memcmp(head, "QFI\xfb", 4) != 0)
        return fail(err, RUNNER_E_INVALID, 0, "no qcow2 image");
    bits = get32(head + 20);
    if (bits < CLUSTER_BITS_MIN || bits > CLUSTER_BITS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: clusters of 2^%u bytes", bits);
    if (get32(head + 60) != 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "qcow2 image: it has snapshots within, and cannot grow");
    cluster = UINT64_C(1) << bits;
    ret->entry_bytes = cluster / 8 * cluster;
    ret->n = get32(head + 36);
    ret->at = get64(head + 40);
    ret->room = (ret->n * 8 + cluster - 1) / cluster * cluster / 8;
    return 0;
}

/* What is behind the table in its clusters was never used, in images that are made here; of others it is looked at. */
static bool is_empty(const char *head, size_t len, const struct table *table, uint64_t n)
{
    uint64_t begin = table->at + table->n * 8, end = table->at + n * 8;

    if (table->at > len || end > len)
        return false;
    for (uint64_t i = begin; i < end; i++)
        if (head[i] != 0)
            return false;
    return true;
}

int grow_head(const char *head, size_t len, int64_t size_bytes, char ret[GROW_BYTES], struct runner_error *err)
{
    uint64_t has, wanted = (uint64_t)size_bytes, n;
    struct table table = {.n = 0};

    if (size_bytes <= 0 || size_bytes % 512 != 0 || size_bytes > DISK_SIZE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "disk size %" PRId64 " bytes", size_bytes);
    if (read_table(head, len, &table, err) < 0)
        return -1;
    has = get64(head + GROW_AT);
    if (has > wanted)
        return fail(err, RUNNER_E_INVALID, 0, "qcow2 image: it has %" PRIu64 " bytes and would shrink to %" PRIu64, has,
                    wanted);
    if (has == wanted)
        return 0;
    n = (wanted + table.entry_bytes - 1) / table.entry_bytes;
    if (n < table.n)
        n = table.n;
    if (n > table.room || !is_empty(head, len, &table, n))
        return fail(err, RUNNER_E_NOTSUP, 0, "qcow2 image: its table has no room to grow to %" PRIu64 " GiB",
                    wanted >> 30);
    wanted = htobe64(wanted);
    memcpy(ret, &wanted, 8);
    memcpy(ret + 8, head + GROW_AT + 8, 4);
    memcpy(ret + 12, &(uint32_t){htobe32((uint32_t)n)}, 4);
    return 1;
}
