#include "plugins/storage/oci/convert-finish.h"

#include <ext2fs/ext2fs.h>
#include <string.h>

#include "core/util/str.h"

#define JOURNAL_BLOCKS 4096u  /* 16 MiB: each sandbox's overlay comes to hold all of it */
#define SLACK_BLOCKS   16384u /* 64 MiB, and a sixteenth of the content: until the disk is grown */
#define GROUP_INODES   8192u  /* one for 16 KiB, as mke2fs has it: what is grown gets as many */
#define GROUPS_MAX     (BLOCKS_MAX / GROUP_BLOCKS)
#define DESCRIPTORS    (BLOCK_SIZE / EXT2_MIN_DESC_SIZE_64BIT) /* of groups, in a block */

struct layout {
    uint32_t groups, inodes; /* inodes: of a group */
    uint32_t table;          /* blocks of a group's */
};

struct volume {
    struct image *im;
    struct layout layout;
    ext2_filsys fs;
};

static int fail_ext2(struct runner_error *err, errcode_t code, const char *what)
{
    if (code == ENOMEM || code == EXT2_ET_NO_MEMORY)
        mem_die();
    if (code == ENOSPC || code == EDQUOT)
        return fail_errno(err, (int)code, "%s", what);
    return fail(err, RUNNER_E_IO, 0, "%s: %s", what, error_message(code));
}

static bool fits(const struct image *im, const struct layout *l)
{
    uint64_t need =
        im->blocks.next + JOURNAL_BLOCKS + SLACK_BLOCKS + im->blocks.next / 16 + (uint64_t)l->groups * (2 + l->table);

    for (uint32_t group = im->blocks.next / GROUP_BLOCKS; group < l->groups; group++)
        if (blocks_group_has_copy(group))
            need += 1 + GDT_BLOCKS + l->table; /* a table may not lie on both sides of it */
    return l->inodes <= GROUP_BLOCKS && need <= (uint64_t)l->groups * GROUP_BLOCKS;
}

static int make_layout(const struct image *im, struct layout *ret, struct runner_error *err)
{
    uint32_t used = im->inodes.next + im->inodes.next / 4;
    struct layout l;

    for (l.groups = 1; l.groups < GROUPS_MAX; l.groups++) {
        l.inodes = (used / l.groups + 16) / 16 * 16;
        if (l.inodes < GROUP_INODES)
            l.inodes = GROUP_INODES;
        l.table = l.inodes / (BLOCK_SIZE / INODE_SIZE);
        if (fits(im, &l)) {
            *ret = l;
            return 0;
        }
    }
    return fail(err, RUNNER_E_INVALID, 0, "the disk would be larger than 1 TiB");
}

static int place_tables(struct volume *v, struct runner_error *err)
{
    struct blocks *b = &v->im->blocks;
    uint64_t at;

    for (uint32_t g = 0; g < v->layout.groups; g++) {
        if (blocks_take_together(b, 1, &at, err) < 0)
            return -1;
        ext2fs_block_bitmap_loc_set(v->fs, g, at);
    }
    for (uint32_t g = 0; g < v->layout.groups; g++) {
        if (blocks_take_together(b, 1, &at, err) < 0)
            return -1;
        ext2fs_inode_bitmap_loc_set(v->fs, g, at);
    }
    for (uint32_t g = 0; g < v->layout.groups; g++) {
        if (blocks_take_together(b, v->layout.table, &at, err) < 0)
            return -1;
        ext2fs_inode_table_loc_set(v->fs, g, at);
    }
    return 0;
}

static void fill_parameters(const struct layout *l, struct ext2_super_block *p)
{
    memset(p, 0, sizeof(*p));
    ext2fs_blocks_count_set(p, (uint64_t)l->groups * GROUP_BLOCKS);
    p->s_inodes_count = l->groups * l->inodes;
    p->s_log_block_size = p->s_log_cluster_size = 2;
    p->s_rev_level = EXT2_DYNAMIC_REV;
    p->s_inode_size = INODE_SIZE;
    p->s_log_groups_per_flex = 4;
    p->s_reserved_gdt_blocks = GDT_BLOCKS - (l->groups + DESCRIPTORS - 1) / DESCRIPTORS;
    ext2fs_set_feature_journal(p);
    ext2fs_set_feature_xattr(p);
    ext2fs_set_feature_resize_inode(p);
    ext2fs_set_feature_dir_index(p);
    ext2fs_set_feature_filetype(p);
    ext2fs_set_feature_extents(p);
    ext2fs_set_feature_64bit(p);
    ext2fs_set_feature_flex_bg(p);
    ext2fs_set_feature_sparse_super(p);
    ext2fs_set_feature_large_file(p);
    ext2fs_set_feature_huge_file(p);
    ext2fs_set_feature_dir_nlink(p);
    ext2fs_set_feature_extra_isize(p);
    ext2fs_set_feature_metadata_csum(p);
}

/* Nothing in it depends on when or where it was made. */
static void fill_superblock(ext2_filsys fs, const uint8_t uuid[16])
{
    struct ext2_super_block *s = fs->super;

    s->s_checksum_type = EXT2_CRC32C_CHKSUM;
    memcpy(s->s_uuid, uuid, sizeof(s->s_uuid));
    memcpy(s->s_hash_seed, uuid, sizeof(s->s_hash_seed));
    ext2fs_init_csum_seed(fs);
    s->s_mkfs_time = s->s_lastcheck = s->s_wtime = (uint32_t)fs->now;
    s->s_def_hash_version = EXT2_HASH_HALF_MD4;
    s->s_flags = EXT2_FLAGS_SIGNED_HASH;
    s->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
    s->s_min_extra_isize = s->s_want_extra_isize = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
    ext2fs_r_blocks_count_set(s, 0);
}

static int volume_open(struct volume *v, const char *path, const uint8_t uuid[16], struct runner_error *err)
{
    struct ext2_super_block parameters;
    errcode_t code;

    initialize_ext2_error_table(); /* texts */
    fill_parameters(&v->layout, &parameters);
    code = ext2fs_initialize(path, EXT2_FLAG_64BITS, &parameters, unix_io_manager, &v->fs);
    if (code != 0)
        return fail_ext2(err, code, "begin the file system");
    v->fs->now = v->im->newest_s > 0 ? v->im->newest_s : 1; /* 0: the clock's */
    fill_superblock(v->fs, uuid);
    if (v->fs->super->s_inodes_per_group != v->layout.inodes || v->fs->group_desc_count != v->layout.groups ||
        v->fs->desc_blocks + v->fs->super->s_reserved_gdt_blocks != GDT_BLOCKS)
        return fail(err, RUNNER_E_IO, 0, "libext2fs lays the disk out in another way");
    return 0;
}

/* What is written already and what was left out for the copies. */
static void mark_used(struct volume *v)
{
    uint64_t at = 0, start, n;

    while ((n = blocks_run(&v->im->blocks, at, &start)) > 0) {
        ext2fs_mark_block_bitmap_range2(v->fs->block_map, start, n);
        at = start + n;
    }
    for (ext2_ino_t number = 1; number < INODE_FIRST; number++)
        ext2fs_mark_inode_bitmap2(v->fs->inode_map, number);
    for (ext2_ino_t number = INODE_FIRST; number < v->im->inodes.next; number++)
        if (v->im->inodes.links[number] > 0)
            ext2fs_mark_inode_bitmap2(v->fs->inode_map, number);
}

/* Inodes go from where they waited to their group's table. */
static int write_inodes(struct volume *v, struct runner_error *err)
{
    union inode batch[INODE_BATCH];
    uint32_t end = v->im->inodes.next, n;

    for (uint32_t number = 1; number < end; number += n) {
        uint32_t group = (number - 1) / v->layout.inodes, index = (number - 1) % v->layout.inodes;
        uint64_t at = ext2fs_inode_table_loc(v->fs, group) * BLOCK_SIZE + (uint64_t)index * INODE_SIZE;

        n = v->layout.inodes - index;
        if (n > INODE_BATCH)
            n = INODE_BATCH;
        if (n > end - number)
            n = end - number;
        if (inodes_read(&v->im->inodes, number, n, batch, err) < 0)
            return -1;
        for (uint32_t i = 0; i < n; i++) {
            batch[i].i.i_links_count = v->im->inodes.links[number + i];
            if (batch[i].i.i_links_count > 0)
                ext2fs_inode_csum_set(v->fs, number + i, &batch[i].i);
        }
        if (blocks_write(&v->im->blocks, at, batch, n * INODE_SIZE, err) < 0)
            return -1;
    }
    return blocks_flush(&v->im->blocks, err);
}

static int count_directories(struct volume *v, struct runner_error *err)
{
    const struct tree *tree = &v->im->tree;

    for (uint32_t node = TREE_ROOT; node <= tree->n; node++) {
        uint32_t group = (tree->nodes[node].inode - 1) / v->layout.inodes;

        if (tree->nodes[node].kind == NODE_DIR)
            ext2fs_bg_used_dirs_count_set(v->fs, group, ext2fs_bg_used_dirs_count(v->fs, group) + 1);
    }
    return v->im->tick(v->im->ctx, err);
}

static int fill_groups(struct volume *v, struct runner_error *err)
{
    errcode_t code;

    for (uint32_t g = 0; g < v->layout.groups; g++) {
        ext2fs_bg_flags_zap(v->fs, g);
        ext2fs_bg_flags_set(v->fs, g, EXT2_BG_INODE_ZEROED); /* what was never written is zeros */
    }
    code = ext2fs_calculate_summary_stats(v->fs, 0);
    if (code == 0)
        code = ext2fs_set_gdt_csum(v->fs);
    return code != 0 ? fail_ext2(err, code, "count what is free") : 0;
}

static int add_own_files(struct volume *v, struct runner_error *err)
{
    errcode_t code = ext2fs_create_resize_inode(v->fs);

    if (code != 0)
        return fail_ext2(err, code, "make room to grow");
    code = ext2fs_add_journal_inode2(v->fs, JOURNAL_BLOCKS, v->im->blocks.next, EXT2_MKJOURNAL_LAZYINIT);
    return code != 0 ? fail_ext2(err, code, "make the journal") : 0;
}

static int volume_close(struct volume *v, struct runner_error *err)
{
    errcode_t code;

    ext2fs_mark_super_dirty(v->fs);
    ext2fs_mark_bb_dirty(v->fs);
    ext2fs_mark_ib_dirty(v->fs);
    code = ext2fs_close2(v->fs, EXT2_FLAG_FLUSH_NO_SYNC);
    if (code != 0)
        return fail_ext2(err, code, "write the file system");
    v->fs = NULL;
    return 0;
}

static int make_volume(struct volume *v, const char *path, const uint8_t uuid[16], struct convert_result *ret,
                       struct runner_error *err)
{
    if (make_layout(v->im, &v->layout, err) < 0 || volume_open(v, path, uuid, err) < 0 || place_tables(v, err) < 0 ||
        write_inodes(v, err) < 0 || blocks_punch(&v->im->blocks, err) < 0)
        return -1;
    mark_used(v);
    if (count_directories(v, err) < 0 || add_own_files(v, err) < 0 || fill_groups(v, err) < 0)
        return -1;
    ret->size_bytes = (int64_t)v->layout.groups * GROUP_BLOCKS * BLOCK_SIZE;
    ret->content_bytes = ret->size_bytes - (int64_t)ext2fs_free_blocks_count(v->fs->super) * BLOCK_SIZE;
    return volume_close(v, err);
}

int finish_disk(struct image *im, const char *path, const uint8_t uuid[16], struct convert_result *ret,
                struct runner_error *err)
{
    struct volume v = {.im = im};
    int status = make_volume(&v, path, uuid, ret, err);

    if (v.fs != NULL)
        ext2fs_free(v.fs);
    if (status < 0)
        return -1;
    if (ftruncate(im->blocks.fd, ret->size_bytes) < 0)
        return fail_errno(err, errno, "cut the disk to its size");
    if (fsync(im->blocks.fd) < 0)
        return fail_errno(err, errno, "write the disk");
    return 0;
}
