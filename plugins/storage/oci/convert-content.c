#include <ext2fs/ext2fs.h>
#include <ext2fs/ext3_extents.h>
#include <string.h>

#include "plugins/storage/oci/convert-content.h"

#include "core/util/str.h"

#define ROOT_RECORDS   4u /* in i_block */
#define BLOCK_RECORDS  ((BLOCK_SIZE - sizeof(struct ext3_extent_header)) / sizeof(struct ext3_extent))
#define EXTENTS_MAX    (ROOT_RECORDS * BLOCK_RECORDS * BLOCK_RECORDS)
#define LENGTH_MAX     32768u /* longer ones would be unwritten */
#define SIZE_MAX_BYTES (((uint64_t)1 << 32) * BLOCK_SIZE)

_Static_assert(sizeof(struct ext3_extent) == sizeof(struct ext3_extent_idx), "a node has one kind or the other");

void content_begin(struct content *c, struct inodes *inodes)
{
    c->inodes = inodes;
    c->n = 0;
    c->end = c->n_blocks = 0;
}

void content_done(struct content *c)
{
    free(c->v);
    memset(c, 0, sizeof(*c));
}

static uint64_t start_of(const struct ext3_extent *e)
{
    return e->ee_start | (uint64_t)e->ee_start_hi << 32;
}

static int add_extent(struct content *c, uint64_t logical, uint64_t start, uint64_t len, struct runner_error *err)
{
    struct ext3_extent *last = c->n > 0 ? &c->v[c->n - 1] : NULL;

    if (last != NULL && last->ee_block + (uint64_t)last->ee_len == logical && start_of(last) + last->ee_len == start &&
        last->ee_len + len <= LENGTH_MAX) {
        last->ee_len += len;
        return 0;
    }
    if (c->n == EXTENTS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "it has more than %u pieces", (unsigned)EXTENTS_MAX);
    if (c->n == c->cap) {
        c->cap = c->cap > 0 ? c->cap * 2 : 16;
        c->v = mem_grow(c->v, c->cap, sizeof(*c->v));
    }
    c->v[c->n++] = (struct ext3_extent){.ee_block = (uint32_t)logical,
                                        .ee_len = (uint16_t)len,
                                        .ee_start = (uint32_t)start,
                                        .ee_start_hi = (uint16_t)(start >> 32)};
    return 0;
}

/* Blocks for what comes at logical: at most want, as a part of one extent. */
static int grow(struct content *c, uint64_t logical, uint64_t want, struct runner_error *err)
{
    const struct ext3_extent *last = c->n > 0 ? &c->v[c->n - 1] : NULL;
    uint64_t start, n;

    if (want > LENGTH_MAX)
        want = LENGTH_MAX;
    if (last != NULL && last->ee_len < LENGTH_MAX && want > LENGTH_MAX - last->ee_len)
        want = LENGTH_MAX - last->ee_len;
    if (blocks_take(c->inodes->blocks, want, &start, &n, err) < 0)
        return -1;
    c->n_blocks += n;
    return add_extent(c, logical, start, n, err);
}

int content_write(struct content *c, uint64_t offset, const void *data, size_t len, struct runner_error *err)
{
    const uint8_t *from = data;

    if (offset < c->end)
        return fail(err, RUNNER_E_INVALID, 0, "its pieces are not in order");
    if (offset > SIZE_MAX_BYTES - len)
        return fail(err, RUNNER_E_INVALID, 0, "it is larger than 16 TiB");
    while (len > 0) {
        uint64_t logical = offset / BLOCK_SIZE, within, room;
        const struct ext3_extent *last = c->n > 0 ? &c->v[c->n - 1] : NULL;
        size_t n;

        if (last == NULL || logical >= last->ee_block + (uint64_t)last->ee_len) {
            if (grow(c, logical, (offset + len + BLOCK_SIZE - 1) / BLOCK_SIZE - logical, err) < 0)
                return -1;
            last = &c->v[c->n - 1];
        }
        within = offset - (uint64_t)last->ee_block * BLOCK_SIZE;
        room = (uint64_t)last->ee_len * BLOCK_SIZE - within;
        n = room < len ? room : len;
        if (blocks_write(c->inodes->blocks, start_of(last) * BLOCK_SIZE + within, from, n, err) < 0)
            return -1;
        from += n, len -= n, offset += n;
    }
    c->end = offset;
    return 0;
}

static void fill_header(void *to, size_t n, size_t max, unsigned depth)
{
    struct ext3_extent_header header = {
        .eh_magic = EXT3_EXT_MAGIC, .eh_entries = (uint16_t)n, .eh_max = (uint16_t)max, .eh_depth = (uint16_t)depth};

    memcpy(to, &header, sizeof(header));
}

/* One block of the tree; what stands for it one level up takes the place of its first record. */
static int put_node(struct content *c, const struct ext3_extent *records, size_t n, unsigned depth, uint32_t number,
                    struct ext3_extent_idx *ret, struct runner_error *err)
{
    uint8_t block[BLOCK_SIZE] = {0};
    size_t head = sizeof(struct ext3_extent_header), tail = head + BLOCK_RECORDS * sizeof(*records);
    uint64_t at, n_got;
    uint32_t crc;

    if (blocks_take(c->inodes->blocks, 1, &at, &n_got, err) < 0)
        return -1;
    c->n_blocks++;
    fill_header(block, n, BLOCK_RECORDS, depth);
    memcpy(block + head, records, n * sizeof(*records));
    crc = ext2fs_crc32c_le(inode_seed(c->inodes, number), block, tail);
    memcpy(block + tail, &crc, sizeof(crc));
    *ret = (struct ext3_extent_idx){
        .ei_block = records->ee_block, .ei_leaf = (uint32_t)at, .ei_leaf_hi = (uint16_t)(at >> 32)};
    return blocks_write(c->inodes->blocks, at * BLOCK_SIZE, block, BLOCK_SIZE, err);
}

int content_end(struct content *c, uint64_t size, uint32_t number, union inode *inode, struct runner_error *err)
{
    unsigned depth = 0;

    for (; c->n > ROOT_RECORDS; depth++) {
        size_t n_above = 0;

        for (size_t at = 0; at < c->n; at += BLOCK_RECORDS) {
            size_t n = c->n - at < BLOCK_RECORDS ? c->n - at : BLOCK_RECORDS;
            struct ext3_extent_idx above;

            if (put_node(c, c->v + at, n, depth, number, &above, err) < 0)
                return -1;
            memcpy(&c->v[n_above++], &above, sizeof(above));
        }
        c->n = n_above;
    }
    fill_header(inode->i.i_block, c->n, ROOT_RECORDS, depth);
    if (c->n > 0)
        memcpy((uint8_t *)inode->i.i_block + sizeof(struct ext3_extent_header), c->v, c->n * sizeof(*c->v));
    inode->i.i_flags |= EXT4_EXTENTS_FL;
    inode->i.i_size = (uint32_t)size;
    inode->i.i_size_high = size >> 32;
    inode_add_blocks(inode, c->n_blocks);
    return 0;
}

int content_free(struct inodes *t, const void *root, struct runner_error *err)
{
    struct ext3_extent_header header;
    const uint8_t *record = (const uint8_t *)root + sizeof(header);

    memcpy(&header, root, sizeof(header));
    for (unsigned i = 0; i < header.eh_entries; i++, record += sizeof(struct ext3_extent)) {
        uint8_t block[BLOCK_SIZE];
        struct ext3_extent extent;
        struct ext3_extent_idx idx;
        uint64_t at;

        memcpy(&extent, record, sizeof(extent));
        if (header.eh_depth == 0) {
            blocks_give_back(t->blocks, start_of(&extent), extent.ee_len);
            continue;
        }
        memcpy(&idx, record, sizeof(idx));
        at = idx.ei_leaf | (uint64_t)idx.ei_leaf_hi << 32;
        if (blocks_read(t->blocks, at * BLOCK_SIZE, block, BLOCK_SIZE, err) < 0 || content_free(t, block, err) < 0)
            return -1;
        blocks_give_back(t->blocks, at, 1);
    }
    return 0;
}
