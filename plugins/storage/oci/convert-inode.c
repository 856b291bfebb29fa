#include "plugins/storage/oci/convert-inode.h"

#include <assert.h>
#include <ext2fs/ext2fs.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/str.h"
#include "plugins/storage/oci/convert-content.h"
#include "plugins/storage/oci/convert-zeros.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written as it lies in memory");
_Static_assert(sizeof(union inode) == INODE_SIZE, "one place of the table");

#define EXTRA_SIZE (sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE)
#define AREA       (EXT2_GOOD_OLD_INODE_SIZE + EXTRA_SIZE) /* attributes in the inode */
#define EA_MAGIC   0xEA020000u

int inodes_init(struct inodes *t, struct blocks *blocks, const uint8_t uuid[16], uint32_t max, struct runner_error *err)
{
    memset(t, 0, sizeof(*t));
    t->blocks = blocks;
    t->seed = ext2fs_crc32c_le(~0u, uuid, 16);
    t->next = INODE_FIRST;
    t->max = INODE_FIRST + max;
    t->spare = zeros_map(t->max * sizeof(*t->spare));
    t->links = zeros_map(t->max * sizeof(*t->links));
    if (t->spare == NULL || t->links == NULL)
        return fail_errno(err, errno, "memory for inodes");
    return 0;
}

void inodes_done(struct inodes *t)
{
    zeros_unmap(t->spare, t->max * sizeof(*t->spare));
    zeros_unmap(t->links, t->max * sizeof(*t->links));
    memset(t, 0, sizeof(*t));
}

uint32_t inode_seed(const struct inodes *t, uint32_t number)
{
    uint32_t words[2] = {number, 0};

    return ext2fs_crc32c_le(t->seed, (const unsigned char *)words, sizeof(words));
}

int inodes_take(struct inodes *t, uint32_t *ret, struct runner_error *err)
{
    if (t->n_spare > 0)
        *ret = t->spare[--t->n_spare];
    else if (t->next < t->max)
        *ret = t->next++;
    else
        return fail(err, RUNNER_E_INVALID, 0, "the image has too many entries");
    t->links[*ret] = 1;
    return 0;
}

static uint64_t place(uint32_t number)
{
    return BLOCKS_MAX * BLOCK_SIZE + (uint64_t)number * INODE_SIZE;
}

static int batch_flush(struct inodes *t, struct runner_error *err)
{
    const uint8_t *from = t->batch[0].raw;
    size_t left = t->n_batch * INODE_SIZE;
    uint64_t at = place(t->first);

    while (left > 0) {
        ssize_t n = pwrite(t->blocks->fd, from, left, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "write an inode");
        from += n, left -= n, at += n;
    }
    t->n_batch = 0;
    return 0;
}

int inodes_put(struct inodes *t, uint32_t number, const union inode *inode, struct runner_error *err)
{
    bool is_next = number == t->first + t->n_batch && t->n_batch < INODE_BATCH;

    if (t->n_batch == 0 || (!is_next && number - t->first >= t->n_batch)) {
        if (batch_flush(t, err) < 0)
            return -1;
        t->first = number;
        is_next = true;
    }
    t->batch[number - t->first] = *inode;
    t->n_batch += is_next;
    return 0;
}

int inodes_read(struct inodes *t, uint32_t number, uint32_t n, union inode *ret, struct runner_error *err)
{
    uint8_t *to = ret->raw;
    size_t left = n * INODE_SIZE;
    uint64_t at = place(number);

    if (batch_flush(t, err) < 0)
        return -1;
    while (left > 0) {
        ssize_t got = pread(t->blocks->fd, to, left, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(err, errno, "read an inode");
        if (got == 0) {
            memset(to, 0, left);
            break;
        }
        to += got, left -= got, at += got;
    }
    return 0;
}

int inodes_get(struct inodes *t, uint32_t number, union inode *ret, struct runner_error *err)
{
    if (number - t->first >= t->n_batch)
        return inodes_read(t, number, 1, ret, err);
    *ret = t->batch[number - t->first];
    return 0;
}

static void set_time(int64_t s, uint32_t ns, uint32_t *ret, uint32_t *ret_extra)
{
    if (s < INT32_MIN)
        s = INT32_MIN, ns = 0;
    if (s > INT32_MAX + ((int64_t)3 << 32))
        s = INT32_MAX + ((int64_t)3 << 32), ns = 0;
    *ret = (uint32_t)s;
    *ret_extra = (uint32_t)((s - (int32_t)s) >> 32 & 3) | ns << 2;
}

void inode_init(union inode *inode, const struct inode_meta *meta)
{
    struct ext2_inode_large *i = &inode->i;

    memset(inode, 0, sizeof(*inode));
    i->i_mode = meta->mode;
    i->i_uid = (uint16_t)meta->uid;
    i->osd2.linux2.l_i_uid_high = meta->uid >> 16;
    i->i_gid = (uint16_t)meta->gid;
    i->osd2.linux2.l_i_gid_high = meta->gid >> 16;
    i->i_links_count = 1;
    i->i_extra_isize = EXTRA_SIZE;
    set_time(meta->mtime_s, meta->mtime_ns, &i->i_mtime, &i->i_mtime_extra);
    i->i_atime = i->i_ctime = i->i_crtime = i->i_mtime;
    i->i_atime_extra = i->i_ctime_extra = i->i_crtime_extra = i->i_mtime_extra;
}

void inode_add_blocks(union inode *inode, uint64_t n)
{
    uint64_t sectors =
        inode->i.i_blocks + ((uint64_t)inode->i.osd2.linux2.l_i_blocks_hi << 32) + n * (BLOCK_SIZE / 512);

    inode->i.i_blocks = (uint32_t)sectors;
    inode->i.osd2.linux2.l_i_blocks_hi = sectors >> 32;
}

static uint32_t block_checksum(const struct inodes *t, uint64_t block, const uint8_t *data)
{
    uint32_t crc = ext2fs_crc32c_le(t->seed, (const unsigned char *)&block, sizeof(block));

    return ext2fs_crc32c_le(crc, data, BLOCK_SIZE);
}

static int xattr_block(struct inodes *t, union inode *inode, struct xattrs *list, struct runner_error *err)
{
    union {
        struct ext2_ext_attr_header header;
        uint8_t raw[BLOCK_SIZE];
    } block = {.header = {.h_magic = EA_MAGIC, .h_refcount = 1, .h_blocks = 1}};
    size_t head = sizeof(block.header);
    uint64_t at, n;

    if (xattrs_write(list, block.raw + head, BLOCK_SIZE - head, block.raw, 1) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "its extended attributes have %zu bytes, more than one block",
                    list->bytes);
    ext2fs_ext_attr_block_rehash(&block.header, (struct ext2_ext_attr_entry *)(block.raw + BLOCK_SIZE));
    if (blocks_take(t->blocks, 1, &at, &n, err) < 0)
        return -1;
    block.header.h_checksum = block_checksum(t, at, block.raw);
    inode->i.i_file_acl = (uint32_t)at;
    inode->i.osd2.linux2.l_i_file_acl_high = at >> 32;
    inode_add_blocks(inode, 1);
    return blocks_write(t->blocks, at * BLOCK_SIZE, block.raw, BLOCK_SIZE, err);
}

int inode_set_xattrs(struct inodes *t, union inode *inode, struct xattrs *list, struct runner_error *err)
{
    uint32_t magic = EA_MAGIC;
    uint8_t *area = inode->raw + AREA + sizeof(magic);
    size_t size = INODE_SIZE - AREA - sizeof(magic);

    if (list->n == 0)
        return 0;
    if (xattrs_write(list, area, size, area, 0) < 0) {
        memset(area, 0, size);
        return xattr_block(t, inode, list, err);
    }
    memcpy(inode->raw + AREA, &magic, sizeof(magic));
    return 0;
}

void inode_free_xattrs(struct inodes *t, const union inode *inode)
{
    uint64_t at = inode->i.i_file_acl | (uint64_t)inode->i.osd2.linux2.l_i_file_acl_high << 32;

    if (at != 0)
        blocks_give_back(t->blocks, at, 1);
}

int inode_set_symlink(union inode *inode, const char *target, size_t len)
{
    if (len >= sizeof(inode->i.i_block))
        return 1;
    memcpy(inode->i.i_block, target, len);
    inode->i.i_size = len;
    return 0;
}

/* As the kernel's old_encode_dev() and new_encode_dev(), include/linux/kdev_t.h. */
void inode_set_device(union inode *inode, uint32_t major, uint32_t minor)
{
    if (major < 256 && minor < 256)
        inode->i.i_block[0] = major << 8 | minor;
    else
        inode->i.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

int inodes_unlink(struct inodes *t, uint32_t number, struct runner_error *err)
{
    static const union inode none;
    union inode inode;

    assert(t->links[number] > 0);
    if (--t->links[number] > 0)
        return 0;
    if (inodes_get(t, number, &inode, err) < 0)
        return -1;
    inode_free_xattrs(t, &inode);
    if ((inode.i.i_flags & EXT4_EXTENTS_FL) != 0 && content_free(t, inode.i.i_block, err) < 0)
        return -1;
    t->spare[t->n_spare++] = number;
    return inodes_put(t, number, &none, err);
}
