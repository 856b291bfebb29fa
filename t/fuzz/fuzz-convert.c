/*
 * Layers of an image to a disk. The first byte says what follows: a configuration; a blob as it is, plain, gzip or zstd; or
 * short records of which tars with right sums are made, so that what is behind libarchive is reached:
 *   TYPE MODE LENGTH NAME LENGTH TARGET SIZE, or 0xff: the next layer.
 * What was refused left nothing; on a disk that was made no block has two owners, all sums are right, all names lead to
 * inodes.
 */
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/json.h"
#include "plugins/storage/oci/convert.h"
#include "t/fuzz/fuzz.h"

#define LAYERS_MAX 4
#define TAR_BLOCK  512u

static const char *const media_types[] = {"application/vnd.oci.image.layer.v1.tar",
                                          "application/vnd.oci.image.layer.v1.tar+gzip",
                                          "application/vnd.oci.image.layer.v1.tar+zstd"};
static const char types[] = "0123456xLKgS7DV";

struct input {
    const uint8_t *at;
    size_t len;
};

static uint8_t take_byte(struct input *in)
{
    return in->len > 0 ? (in->len--, *in->at++) : 0;
}

static size_t take_bytes(struct input *in, uint8_t *to, size_t max)
{
    size_t n = take_byte(in);

    n = n < max ? n : max;
    n = n < in->len ? n : in->len;
    memcpy(to, in->at, n);
    in->at += n, in->len -= n;
    return n;
}

static void fill_number(uint8_t *to, size_t size, unsigned value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%0*o", (int)size - 1, value);
    memcpy(to, text, size - 1);
}

static void fill_sum(uint8_t *head)
{
    unsigned sum = 0;

    memset(head + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += head[i];
    fill_number(head + 148, 7, sum);
}

static void add_block(struct str *tar, const void *data, size_t len)
{
    static const uint8_t zeros[TAR_BLOCK];

    str_add_mem(tar, data, len);
    str_add_mem(tar, zeros, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
}

/* False: the layer ends. */
static bool add_record(struct str *tar, struct input *in)
{
    uint8_t type = take_byte(in), mode = take_byte(in), name[256], target[256];
    uint8_t head[TAR_BLOCK] = {0}, content[256 * 37];
    size_t name_len, target_len, size;

    if (type == 0xff || in->len == 0)
        return false;
    head[156] = (uint8_t)types[type % (sizeof(types) - 1)];
    name_len = take_bytes(in, name, sizeof(name));
    target_len = take_bytes(in, target, sizeof(target));
    size = take_byte(in) * (size_t)37;
    memcpy(head, name, name_len < 100 ? name_len : 100);
    memcpy(head + 157, target, target_len < 100 ? target_len : 100);
    fill_number(head + 100, 8, mode * 16u + 7);
    fill_number(head + 108, 8, mode * 300u);
    fill_number(head + 116, 8, mode);
    fill_number(head + 136, 12, mode * 1000u);
    memcpy(head + 257, "ustar\00000", 8);
    fill_number(head + 329, 8, mode);
    fill_number(head + 337, 8, mode * 9u);
    memset(content, mode, sizeof(content));
    if (strchr("xgLK", head[156]) != NULL)
        memcpy(content, name, size = name_len);
    if (strchr("07S", head[156]) == NULL && strchr("xgLK", head[156]) == NULL)
        size = 0;
    fill_number(head + 124, 12, (unsigned)size);
    fill_sum(head);
    add_block(tar, head, sizeof(head));
    add_block(tar, content, size);
    return true;
}

static void write_file(const char *path, const void *data, size_t len)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    need(fd >= 0 && write(fd, data, len) == (ssize_t)len);
}

struct owners {
    ext2_filsys fs;
    ext2fs_block_bitmap seen; /* blocks that have an owner */
};

static int on_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t count, blk64_t ref, int offset, void *ctx)
{
    struct owners *o = ctx;

    (void)ref, (void)offset, (void)count;
    need(ext2fs_test_block_bitmap2(fs->block_map, *block) && !ext2fs_mark_block_bitmap2(o->seen, *block));
    return 0;
}

static void check_inodes(struct owners *o)
{
    ext2_inode_scan scan;
    struct ext2_inode inode;
    ext2_ino_t number;

    need(ext2fs_open_inode_scan(o->fs, 0, &scan) == 0);
    while (ext2fs_get_next_inode(scan, &number, &inode) == 0 && number != 0) {
        if (inode.i_links_count == 0)
            continue;
        need(ext2fs_test_inode_bitmap2(o->fs->inode_map, number));
        if (number != EXT2_RESIZE_INO && ext2fs_inode_has_valid_blocks2(o->fs, &inode))
            need(ext2fs_block_iterate3(o->fs, number, BLOCK_FLAG_READ_ONLY, NULL, on_block, o) == 0);
        if (ext2fs_file_acl_block(o->fs, &inode) != 0)
            need(!ext2fs_mark_block_bitmap2(o->seen, ext2fs_file_acl_block(o->fs, &inode)));
    }
    ext2fs_close_inode_scan(scan);
}

static int on_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *e, int offset, int blocksize, char *buf, void *ctx)
{
    struct owners *o = ctx;

    (void)dir, (void)offset, (void)blocksize, (void)buf;
    need(ext2fs_test_inode_bitmap2(o->fs->inode_map, e->inode) && ext2fs_dirent_name_len(e) > 0);
    if (entry == DIRENT_OTHER_FILE && ext2fs_dirent_file_type(e) == EXT2_FT_DIR)
        need(ext2fs_dir_iterate2(o->fs, e->inode, 0, NULL, on_name, ctx) == 0);
    return 0;
}

static void check_disk(const char *path)
{
    struct owners o;

    need(ext2fs_open(path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &o.fs) == 0 && ext2fs_read_bitmaps(o.fs) == 0);
    need(ext2fs_allocate_block_bitmap(o.fs, "seen", &o.seen) == 0);
    check_inodes(&o);
    need(ext2fs_dir_iterate2(o.fs, EXT2_ROOT_INO, 0, NULL, on_name, &o) == 0);
    ext2fs_free_block_bitmap(o.seen);
    ext2fs_close(o.fs);
}

static void check_config(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    struct image_config config;
    auto_json struct json *tree = NULL;

    if (image_config_read((const char *)data, size, &config, &err) < 0) {
        need_reason(&err);
        return;
    }
    json_add_text(&config.members, "init", "");
    json_close(&config.members, '}');
    need(json_parse(str_text(&config.members), config.members.len, &tree, &err) == 0);
    image_config_done(&config);
}

static void convert(const char *folder, struct convert_layer *layers, size_t n)
{
    static const char config[] = "{}";
    auto_free char *disk = mem_printf("%s/disk", folder);
    struct convert_request request = {.layers = layers,
                                      .n_layers = n,
                                      .config = config,
                                      .config_len = 2,
                                      .path = disk,
                                      .bounds = {.entries = 5000, .total_bytes = 4 << 20, .depth = 40}};
    struct runner_error err = ERROR_INIT;
    struct convert_result result;

    if (convert_image(&request, &result, &err) < 0) {
        need_reason(&err);
        need(access(disk, F_OK) < 0);
        return;
    }
    check_disk(disk);
    free(result.image_json);
    need(unlink(disk) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[] = "/dev/shm/fuzz-convert.XXXXXX";
    struct convert_layer layers[LAYERS_MAX];
    struct input in = {data, size};
    uint8_t kind = take_byte(&in) % 8;
    size_t n = 0;

    if (kind == 0) {
        check_config(in.at, in.len);
        return 0;
    }
    need(mkdtemp(folder) != NULL);
    do {
        auto_str struct str tar = STR_INIT;
        char *path = mem_printf("%s/%zu", folder, n);

        if (kind <= 3)
            str_add_mem(&tar, in.at, in.len);
        else
            while (add_record(&tar, &in))
                ;
        write_file(path, str_text(&tar), tar.len);
        layers[n++] = (struct convert_layer){
            .path = path, .media_type = media_types[kind <= 3 ? kind - 1 : 0], .name = "layer"};
    } while (kind > 3 && in.len > 0 && n < LAYERS_MAX);
    convert(folder, layers, n);
    for (size_t i = 0; i < n; i++) {
        need(unlink(layers[i].path) == 0);
        free((char *)(uintptr_t)layers[i].path);
    }
    need(rmdir(folder) == 0);
    return 0;
}
