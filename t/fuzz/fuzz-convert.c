/*
 * Layers of an image to a disk. The first byte says what follows: a configuration; a blob as it is, plain, gzip or zstd; a
 * tar of which the heads get right sums, plain or packed here, so that no sum is in the way; or short records of which tars
 * are made, so that what is behind libarchive is reached:
 *   TYPE MODE LENGTH NAME LENGTH TARGET SIZE, or 0xff: the next layer.
 * Of one kind the name and target of a pax head are a keyword's number and its value each.
 * What was refused left nothing; on a disk that was made no block has two owners, all sums are right, all names lead to
 * inodes.
 */
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include "core/util/json.h"
#include "plugins/storage/oci/convert.h"
#include "t/fuzz/fuzz.h"

#define LAYERS_MAX 4
#define TAR_BLOCK  512u

static const char *const media_types[] = {"application/vnd.oci.image.layer.v1.tar",
                                          "application/vnd.oci.image.layer.v1.tar+gzip",
                                          "application/vnd.oci.image.layer.v1.tar+zstd"};
static const char types[] = "0123456xLKgS7DV";
static const char *const keywords[] = {"path",
                                       "linkpath",
                                       "size",
                                       "uid",
                                       "gid",
                                       "mtime",
                                       "uname",
                                       "hdrcharset",
                                       "SCHILY.xattr.user.a",
                                       "SCHILY.xattr.security.capability",
                                       "LIBARCHIVE.xattr.user.b",
                                       "SCHILY.acl.access",
                                       "SCHILY.acl.default",
                                       "SCHILY.devmajor",
                                       "SCHILY.devminor",
                                       "SCHILY.realsize",
                                       "GNU.sparse.major",
                                       "GNU.sparse.minor",
                                       "GNU.sparse.name",
                                       "GNU.sparse.map",
                                       "GNU.sparse.size",
                                       "GNU.sparse.realsize",
                                       "GNU.sparse.numblocks",
                                       "GNU.sparse.offset",
                                       "GNU.sparse.numbytes"};

/* By the first byte. */
enum { CONFIG, PLAIN, GZIP, ZSTD, RECORDS, SUMMED = 8, SUMMED_GZIP, SUMMED_ZSTD, PAX_RECORDS, KINDS };

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

/* "LENGTH KEYWORD=VALUE\n": the length counts itself. */
static void add_keyword(struct str *out, const uint8_t *data, size_t len)
{
    const char *keyword = len > 0 ? keywords[data[0] % ARRAY_LEN(keywords)] : NULL;
    size_t rest = keyword != NULL ? strlen(keyword) + len + 2 : 0; /* blank, '=', newline, without the number's byte */
    size_t whole = rest + 1;

    if (keyword == NULL)
        return;
    while (rest + (size_t)snprintf(NULL, 0, "%zu", whole) != whole)
        whole++;
    str_addf(out, "%zu %s=", whole, keyword);
    str_add_mem(out, (const char *)data + 1, len - 1);
    str_add_char(out, '\n');
}

/* Heads of a tar, one behind the other as their sizes say. */
static void mend_sums(struct str *tar)
{
    for (size_t at = 0; at + TAR_BLOCK <= tar->len;) {
        char text[13] = "";
        unsigned long long size;

        memcpy(text, tar->ptr + at + 124, 12);
        size = strtoull(text, NULL, 8);
        fill_sum((uint8_t *)tar->ptr + at);
        if (size > tar->len)
            break;
        at += TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    }
}

/* Two members. */
static void pack_gzip(struct str *tar)
{
    auto_str struct str out = STR_INIT;
    size_t half = tar->len / 2, size = tar->len + 1024;
    auto_free uint8_t *room = mem_alloc(size);

    for (size_t i = 0; i < 2; i++) {
        z_stream z = {.next_in = (uint8_t *)tar->ptr + (i > 0 ? half : 0),
                      .avail_in = (unsigned)(i > 0 ? tar->len - half : half),
                      .next_out = room,
                      .avail_out = (unsigned)size};

        need(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
        need(deflate(&z, Z_FINISH) == Z_STREAM_END && deflateEnd(&z) == Z_OK);
        str_add_mem(&out, (char *)room, size - z.avail_out);
    }
    str_done(tar);
    *tar = (struct str)STR_INIT;
    str_add_mem(tar, out.ptr, out.len);
}

static void pack_zstd(struct str *tar)
{
    size_t size = ZSTD_compressBound(tar->len), n;
    auto_free char *room = mem_alloc(size);

    n = ZSTD_compress(room, size, str_text(tar), tar->len, 1);
    need(!ZSTD_isError(n));
    str_done(tar);
    *tar = (struct str)STR_INIT;
    str_add_mem(tar, room, n);
}

/* A blob as it is, or as a tar with right sums; its media type. */
static const char *make_blob(struct str *tar, const struct input *in, uint8_t kind)
{
    str_add_mem(tar, (const char *)in->at, in->len);
    if (kind >= SUMMED && tar->len > 0)
        mend_sums(tar);
    if (kind == SUMMED_GZIP)
        pack_gzip(tar);
    else if (kind == SUMMED_ZSTD)
        pack_zstd(tar);
    return media_types[kind >= SUMMED ? kind - SUMMED : kind - PLAIN];
}

/* False: the layer ends. */
static bool add_record(struct str *tar, struct input *in, bool has_keywords)
{
    auto_str struct str pax = STR_INIT;
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
    if (has_keywords && strchr("xg", head[156]) != NULL) {
        add_keyword(&pax, name, name_len);
        add_keyword(&pax, target, target_len);
        memcpy(content, str_text(&pax), size = pax.len);
    }
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
    static const char config[] = "{\"config\":{\"Volumes\":{\"/a/b/c\":{},\"d/../e\":{},\"/\":{}}}}";
    auto_free char *disk = mem_printf("%s/disk", folder);
    struct convert_request request = {.layers = layers,
                                      .n_layers = n,
                                      .config = config,
                                      .config_len = sizeof config - 1,
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
    uint8_t kind = take_byte(&in) % KINDS;
    bool is_blob = kind < RECORDS || (kind >= SUMMED && kind < PAX_RECORDS);
    size_t n = 0;

    if (kind == CONFIG) {
        check_config(in.at, in.len);
        return 0;
    }
    need(mkdtemp(folder) != NULL);
    do {
        auto_str struct str tar = STR_INIT;
        char *path = mem_printf("%s/%zu", folder, n);
        const char *media_type = is_blob ? make_blob(&tar, &in, kind) : media_types[0];

        while (!is_blob && add_record(&tar, &in, kind == PAX_RECORDS))
            ;
        write_file(path, str_text(&tar), tar.len);
        layers[n++] = (struct convert_layer){.path = path, .media_type = media_type, .name = "layer"};
    } while (!is_blob && in.len > 0 && n < LAYERS_MAX);
    convert(folder, layers, n);
    for (size_t i = 0; i < n; i++) {
        need(unlink(layers[i].path) == 0);
        free((char *)(uintptr_t)layers[i].path);
    }
    need(rmdir(folder) == 0);
    return 0;
}
