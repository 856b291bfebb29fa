/*
 * ext4-list DISK: what is in an ext4 file system, read by libext2fs alone. A line an entry: path, type and mode (octal), uid,
 * gid, size, mtime with nanoseconds, device, inode, CRC of the content or a link's target, extended attributes; between them
 * tabs, bytes that do not print as \xNN.
 */
#include <ext2fs/ext2fs.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "core/util/text.h"

struct list {
    ext2_filsys fs;
    struct str path;
};

static void die(const char *what, errcode_t code)
{
    (void)fprintf(stderr, "ext4-list: %s: %s\n", what, error_message(code));
    exit(1);
}

static void print_escaped(const void *text, size_t len)
{
    auto_str struct str shown = STR_INIT;

    text_add_escaped(&shown, text, len);
    (void)printf("%s", str_text(&shown));
}

static void print_content(ext2_filsys fs, ext2_ino_t number, uint64_t size)
{
    static char buffer[1 << 20];
    unsigned long crc = crc32(0, NULL, 0);
    ext2_file_t file;
    unsigned n = 1;
    errcode_t code = ext2fs_file_open(fs, number, 0, &file);

    for (uint64_t at = 0; code == 0 && at < size && n > 0; at += n) {
        code = ext2fs_file_read(file, buffer, sizeof(buffer), &n);
        if (code == 0)
            crc = crc32(crc, (const unsigned char *)buffer, n);
    }
    if (code != 0)
        die("read a file", code);
    ext2fs_file_close(file);
    (void)printf("%08lx", crc);
}

static void print_link(ext2_filsys fs, ext2_ino_t number, const struct ext2_inode *inode)
{
    char target[4097];
    unsigned n = 0;
    ext2_file_t file;
    errcode_t code;

    if (inode->i_size < sizeof(inode->i_block)) {
        print_escaped(inode->i_block, inode->i_size);
        return;
    }
    code = ext2fs_file_open(fs, number, 0, &file);
    if (code == 0)
        code = ext2fs_file_read(file, target, inode->i_size < 4097 ? inode->i_size : 4097, &n);
    if (code != 0)
        die("read a symbolic link", code);
    ext2fs_file_close(file);
    print_escaped(target, n);
}

static int on_xattr(char *name, char *value, size_t len, void *ctx)
{
    (void)ctx;
    (void)printf(" ");
    print_escaped(name, strlen(name));
    (void)printf("=");
    for (size_t i = 0; i < len; i++)
        (void)printf("%02x", (unsigned char)value[i]);
    return 0;
}

static void print_xattrs(ext2_filsys fs, ext2_ino_t number)
{
    struct ext2_xattr_handle *handle;
    errcode_t code = ext2fs_xattrs_open(fs, number, &handle);

    if (code == 0)
        code = ext2fs_xattrs_read(handle);
    if (code == 0)
        code = ext2fs_xattrs_iterate(handle, on_xattr, NULL);
    if (code != 0)
        die("extended attributes", code);
    ext2fs_xattrs_close(&handle);
}

static int64_t mtime(const struct ext2_inode_large *i)
{
    return (int32_t)i->i_mtime + ((int64_t)(i->i_mtime_extra & 3) << 32);
}

static void print_device(const struct ext2_inode *i)
{
    uint32_t dev = i->i_block[1];

    if (!LINUX_S_ISCHR(i->i_mode) && !LINUX_S_ISBLK(i->i_mode))
        (void)printf("0:0");
    else if (i->i_block[0] != 0)
        (void)printf("%u:%u", i->i_block[0] >> 8 & 0xff, i->i_block[0] & 0xff);
    else
        (void)printf("%u:%u", (dev & 0xfff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xfff00));
}

static void print_entry(struct list *l, ext2_ino_t number)
{
    struct ext2_inode_large large;
    struct ext2_inode *inode = (struct ext2_inode *)&large;
    errcode_t code = ext2fs_read_inode_full(l->fs, number, inode, sizeof(large));
    uint64_t size;

    if (code != 0)
        die("read an inode", code);
    size = LINUX_S_ISREG(inode->i_mode) ? EXT2_I_SIZE(inode) : 0;
    print_escaped(str_text(&l->path), l->path.len);
    (void)printf("\t%o\t%u\t%u\t%" PRIu64 "\t%" PRId64 ".%09u\t", inode->i_mode, inode_uid(*inode), inode_gid(*inode),
                 size, mtime(&large), large.i_mtime_extra >> 2);
    print_device(inode);
    (void)printf("\t%u\t", number);
    if (LINUX_S_ISREG(inode->i_mode))
        print_content(l->fs, number, size);
    if (LINUX_S_ISLNK(inode->i_mode))
        print_link(l->fs, number, inode);
    (void)printf("\t");
    print_xattrs(l->fs, number);
    (void)printf("\n");
}

static int on_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *e, int offset, int blocksize, char *buf, void *ctx)
{
    struct list *l = ctx;
    size_t len = l->path.len;
    int name_len = ext2fs_dirent_name_len(e);

    (void)dir, (void)offset, (void)blocksize, (void)buf;
    if (entry == DIRENT_DOT_FILE || entry == DIRENT_DOT_DOT_FILE)
        return 0;
    str_add_char(&l->path, '/');
    str_add_mem(&l->path, e->name, name_len);
    print_entry(l, e->inode);
    if (ext2fs_dirent_file_type(e) == EXT2_FT_DIR) {
        errcode_t code = ext2fs_dir_iterate2(l->fs, e->inode, 0, NULL, on_name, l);

        if (code != 0)
            die("read a directory", code);
    }
    l->path.len = len;
    return 0;
}

int main(int argc, char **argv)
{
    struct list l = {.path = STR_INIT};
    errcode_t code;

    if (argc != 2)
        return 2;
    code = ext2fs_open(argv[1], EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &l.fs);
    if (code != 0)
        die(argv[1], code);
    print_entry(&l, EXT2_ROOT_INO);
    code = ext2fs_dir_iterate2(l.fs, EXT2_ROOT_INO, 0, NULL, on_name, &l);
    if (code != 0)
        die("read the root", code);
    str_done(&l.path);
    ext2fs_close(l.fs);
    return 0;
}
