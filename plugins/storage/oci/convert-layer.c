#include "plugins/storage/oci/convert-layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/text.h"

#define WHITEOUT      ".wh."
#define WHITEOUT_AUFS ".wh..wh."
#define OPAQUE        ".wh..wh..opq"
#define TICK_ENTRIES  256
#define SHOWN_MAX     160 /* bytes of a path in an error */

struct layer {
    struct image *im;
    struct stream *stream;
    struct archive *archive;
    struct archive_entry *entry;
    struct inode_meta meta;  /* of the entry */
    struct runner_error err; /* of the stream, while libarchive passes on that there is one */
    bool has_failed;
};

static la_ssize_t on_read(struct archive *a, void *ctx, const void **ret)
{
    struct layer *l = ctx;
    ssize_t n = -1;

    if (l->im->tick(l->im->ctx, &l->err) == 0)
        n = stream_read(l->stream, ret, &l->err);
    if (n < 0) {
        l->has_failed = true;
        archive_set_error(a, EIO, "stream");
    }
    return n;
}

static int fail_archive(struct layer *l, struct runner_error *err)
{
    const char *text = archive_error_string(l->archive);

    if (l->has_failed) {
        error_copy(err, &l->err);
        return -1;
    }
    return fail(err, RUNNER_E_INVALID, 0, "damaged tar: %s", text != NULL ? text : "it cannot be read");
}

int image_make_dir(struct image *im, uint32_t dir, const char *name, size_t len, const struct inode_meta *meta,
                   uint32_t *ret, struct runner_error *err)
{
    union inode inode;
    uint32_t number;

    if (tree_depth(&im->tree, dir) + 1 > im->bounds->depth)
        return fail(err, RUNNER_E_INVALID, 0, "more than %" PRIu32 " directories lie within each other",
                    im->bounds->depth);
    inode_init(&inode, meta);
    if (inodes_take(&im->inodes, &number, err) < 0 || inodes_put(&im->inodes, number, &inode, err) < 0)
        return -1;
    return tree_add(&im->tree, dir, name, len, NODE_DIR, number, ret, err);
}

/* One on the way to an entry that no layer has an entry for. */
static int on_make(void *ctx, uint32_t dir, const char *name, size_t len, uint32_t *ret, struct runner_error *err)
{
    struct layer *l = ctx;
    struct inode_meta meta = {.mode = S_IFDIR | 0755, .mtime_s = l->meta.mtime_s, .mtime_ns = l->meta.mtime_ns};

    return image_make_dir(l->im, dir, name, len, &meta, ret, err);
}

static int add_xattrs(struct layer *l, union inode *inode, struct runner_error *err)
{
    struct xattrs list;
    const char *name;
    const void *value;
    size_t len;
    int status = 0;

    if (archive_entry_xattr_reset(l->entry) == 0)
        return 0;
    list.n = list.bytes = 0;
    while (status == 0 && archive_entry_xattr_next(l->entry, &name, &value, &len) == ARCHIVE_OK)
        status = xattrs_add(&list, name, value, len, err);
    if (status == 0 && list.bytes > l->im->bounds->xattr_bytes)
        status = fail(err, RUNNER_E_INVALID, 0, "its extended attributes have more than %" PRIu64 " bytes",
                      l->im->bounds->xattr_bytes);
    if (status == 0)
        status = inode_set_xattrs(&l->im->inodes, inode, &list, err);
    xattrs_done(&list);
    return status;
}

/* The name is the inode's, whatever was there. */
static int set_name(struct layer *l, const struct place *at, uint8_t kind, uint32_t number, uint32_t *ret,
                    struct runner_error *err)
{
    struct node *old = &l->im->tree.nodes[at->node];

    if (at->node != 0 && old->kind != NODE_DIR && kind != NODE_DIR) {
        if (inodes_unlink(&l->im->inodes, old->inode, err) < 0)
            return -1;
        old->inode = number;
        old->kind = kind;
        old->first = 0;
        *ret = at->node;
        return 0;
    }
    if (at->node != 0 && image_remove(l->im, at->node, err) < 0)
        return -1;
    return tree_add(&l->im->tree, at->dir, at->name, at->name_len, kind, number, ret, err);
}

static int read_content(struct layer *l, uint32_t number, union inode *inode, struct runner_error *err)
{
    struct content *content = &l->im->content;
    int64_t size = archive_entry_size(l->entry), offset;
    const void *data;
    size_t len;
    uint64_t bytes = 0;
    int status;

    content_begin(content, &l->im->inodes);
    for (;;) {
        status = archive_read_data_block(l->archive, &data, &len, &offset);
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
            break;
        bytes += len;
        if (bytes > l->im->bounds->file_bytes)
            return fail(err, RUNNER_E_INVALID, 0, "it has more than %" PRIu64 " MiB", l->im->bounds->file_bytes >> 20);
        if (content_write(content, offset, data, len, err) < 0)
            return -1;
    }
    if (status != ARCHIVE_EOF)
        return fail_archive(l, err);
    if (size < 0 || content->end > (uint64_t)size || (uint64_t)size > (uint64_t)BLOCK_SIZE << 32)
        return fail(err, RUNNER_E_INVALID, 0, "its size is wrong");
    return content_end(content, size, number, inode, err);
}

static int set_target(struct layer *l, const char *target, uint32_t number, union inode *inode,
                      struct runner_error *err)
{
    struct content *content = &l->im->content;
    size_t len = target != NULL ? strlen(target) : 0;

    if (len == 0 || len >= BLOCK_SIZE)
        return fail(err, RUNNER_E_INVALID, 0, "a symbolic link to %zu bytes", len);
    if (inode_set_symlink(inode, target, len) == 0)
        return 0;
    content_begin(content, &l->im->inodes);
    if (content_write(content, 0, target, len, err) < 0)
        return -1;
    return content_end(content, len, number, inode, err);
}

static int set_special(struct layer *l, uint32_t number, union inode *inode, struct runner_error *err)
{
    switch (l->meta.mode & S_IFMT) {
    case S_IFREG:
        return read_content(l, number, inode, err);
    case S_IFLNK:
        return set_target(l, archive_entry_symlink(l->entry), number, inode, err);
    case S_IFCHR:
    case S_IFBLK:
        if (archive_entry_rdevmajor(l->entry) > 0xfff || archive_entry_rdevminor(l->entry) > 0xfffff)
            return fail(err, RUNNER_E_INVALID, 0, "a device with a number that Linux has not");
        inode_set_device(inode, archive_entry_rdevmajor(l->entry), archive_entry_rdevminor(l->entry));
        return 0;
    case S_IFIFO:
    case S_IFSOCK:
        return 0;
    default:
        return fail(err, RUNNER_E_INVALID, 0, "it is of no type that a disk keeps");
    }
}

static uint8_t kind_of(uint16_t mode)
{
    static const struct {
        uint16_t type;
        uint8_t kind;
    } kinds[] = {{S_IFREG, NODE_FILE},  {S_IFLNK, NODE_LINK}, {S_IFCHR, NODE_CHAR},
                 {S_IFBLK, NODE_BLOCK}, {S_IFIFO, NODE_FIFO}, {S_IFSOCK, NODE_SOCKET}};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if ((mode & S_IFMT) == kinds[i].type)
            return kinds[i].kind;
    return NODE_NONE;
}

static int apply_other(struct layer *l, const struct place *at, struct runner_error *err)
{
    bool is_link = S_ISLNK(l->meta.mode);
    uint32_t number, node;
    union inode inode;

    if (at->name_len == 0)
        return fail(err, RUNNER_E_INVALID, 0, "the root can only be a directory");
    inode_init(&inode, &l->meta);
    if (inodes_take(&l->im->inodes, &number, err) < 0 || set_special(l, number, &inode, err) < 0 ||
        add_xattrs(l, &inode, err) < 0 || inodes_put(&l->im->inodes, number, &inode, err) < 0 ||
        set_name(l, at, kind_of(l->meta.mode), number, &node, err) < 0)
        return -1;
    if (is_link) {
        const char *target = archive_entry_symlink(l->entry);

        if (tree_set_target(&l->im->tree, node, target, strlen(target), err) < 0)
            return -1;
    }
    tree_touch(&l->im->tree, node, l->im->layer);
    return 0;
}

/* One that is there keeps what is in it. */
static int apply_dir(struct layer *l, const struct place *at, struct runner_error *err)
{
    struct image *im = l->im;
    uint32_t node = at->node, number;
    union inode inode, old;

    if (node == 0 || im->tree.nodes[node].kind != NODE_DIR) {
        if (node != 0 && image_remove(im, node, err) < 0)
            return -1;
        if (image_make_dir(im, at->dir, at->name, at->name_len, &l->meta, &node, err) < 0)
            return -1;
    }
    number = im->tree.nodes[node].inode;
    if (inodes_get(&im->inodes, number, &old, err) < 0)
        return -1;
    inode_free_xattrs(&im->inodes, &old);
    inode_init(&inode, &l->meta);
    if (add_xattrs(l, &inode, err) < 0 || inodes_put(&im->inodes, number, &inode, err) < 0)
        return -1;
    tree_touch(&im->tree, node, im->layer);
    return 0;
}

static int apply_hard_link(struct layer *l, const struct place *at, const char *target, struct runner_error *err)
{
    struct image *im = l->im;
    struct place to;
    uint32_t node, number;
    uint8_t kind;

    if (tree_resolve(&im->tree, target, false, NULL, NULL, &to, err) < 0)
        return error_wrap(err, "the other name of this hard link");
    if (to.dir == 0 || to.node == 0)
        return fail(err, RUNNER_E_INVALID, 0, "a hard link to what is not there");
    kind = im->tree.nodes[to.node].kind;
    number = im->tree.nodes[to.node].inode;
    if (kind == NODE_DIR || at->name_len == 0)
        return fail(err, RUNNER_E_INVALID, 0, "a hard link to or at a directory");
    if (to.node != at->node) {
        uint32_t link_target = im->tree.nodes[to.node].target;

        if (im->inodes.links[number] >= LINKS_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "more than %u hard links", LINKS_MAX);
        im->inodes.links[number]++;
        if (set_name(l, at, kind, number, &node, err) < 0)
            return -1;
        if (kind == NODE_LINK)
            im->tree.nodes[node].target = link_target;
    } else {
        node = to.node;
    }
    tree_touch(&im->tree, node, im->layer);
    return 0;
}

/* Names that stand for what is gone: OCI image specification, layer.md, Whiteouts. They count for lower layers only,
 * wherever they are in this one. */
static int apply_whiteout(struct layer *l, const struct place *at, struct runner_error *err)
{
    const char *name = at->name + strlen(WHITEOUT);
    uint32_t node;

    if (strcmp(at->name, OPAQUE) == 0)
        return image_remove_lower_children(l->im, at->dir, err);
    if (text_starts(at->name, WHITEOUT_AUFS, NULL))
        return 0; /* aufs' own files */
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return fail(err, RUNNER_E_INVALID, 0, "a whiteout of no name");
    node = tree_find(&l->im->tree, at->dir, name, strlen(name));
    return node != 0 ? image_remove_lower(l->im, node, err) : 0;
}

/* libarchive reads "-1.25" as -1 s and 250 ms, which are to be subtracted. */
static void read_time(struct layer *l)
{
    bool is_set = archive_entry_mtime_is_set(l->entry) != 0;
    int64_t s = is_set ? archive_entry_mtime(l->entry) : 0;
    uint32_t ns = is_set ? (uint32_t)archive_entry_mtime_nsec(l->entry) % 1000000000u : 0;

    if (s < 0 && ns > 0 && s > INT64_MIN) {
        s--;
        ns = 1000000000u - ns;
    }
    l->meta.mtime_s = s;
    l->meta.mtime_ns = ns;
}

static int read_meta(struct layer *l, struct runner_error *err)
{
    struct archive_entry *e = l->entry;
    int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "owner %" PRId64 ":%" PRId64 " is none", uid, gid);
    l->meta.uid = (uint32_t)uid;
    l->meta.gid = (uint32_t)gid;
    l->meta.mode = (archive_entry_filetype(e) & S_IFMT) | (archive_entry_perm(e) & 07777);
    if (S_ISLNK(l->meta.mode))
        l->meta.mode |= 0777;
    read_time(l);
    if (l->meta.mtime_s > l->im->newest_s && l->meta.mtime_s <= l->im->now_s)
        l->im->newest_s = l->meta.mtime_s;
    return 0;
}

static bool is_whiteout(const char *path)
{
    const char *end = path + strlen(path), *name;

    while (end > path && end[-1] == '/')
        end--;
    for (name = end; name > path && name[-1] != '/'; name--)
        ;
    return text_starts(name, WHITEOUT, NULL);
}

static int apply_entry(struct layer *l, const char *path, struct runner_error *err)
{
    const char *target = archive_entry_hardlink(l->entry);
    struct place at;

    if (read_meta(l, err) < 0)
        return -1;
    if (is_whiteout(path)) {
        if (tree_resolve(&l->im->tree, path, false, NULL, NULL, &at, err) < 0)
            return -1;
        return at.dir != 0 ? apply_whiteout(l, &at, err) : 0;
    }
    if (tree_resolve(&l->im->tree, path, false, on_make, l, &at, err) < 0)
        return -1;
    if (target != NULL)
        return apply_hard_link(l, &at, target, err);
    return S_ISDIR(l->meta.mode) ? apply_dir(l, &at, err) : apply_other(l, &at, err);
}

static int wrap_entry(struct runner_error *err, const char *path)
{
    auto_str struct str shown = STR_INIT;
    size_t len = strlen(path);

    text_add_escaped(&shown, path, len < SHOWN_MAX ? len : SHOWN_MAX);
    return error_wrap(err, "entry '%s'%s", str_text(&shown), len > SHOWN_MAX ? "..." : "");
}

/* 1: there are no more. */
static int next_entry(struct layer *l, struct runner_error *err)
{
    struct image *im = l->im;
    int status = archive_read_next_header(l->archive, &l->entry);
    const char *path;

    if (status == ARCHIVE_EOF)
        return 1;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) /* WARN: a name that is no ASCII */
        return fail_archive(l, err);
    path = archive_entry_pathname(l->entry);
    if (path == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "an entry without a name");
    if (++im->seen / 10 > im->bounds->entries)
        return fail(err, RUNNER_E_INVALID, 0, "the layers have more than %" PRIu32 "0 entries", im->bounds->entries);
    if (im->seen % TICK_ENTRIES == 0 && im->tick(im->ctx, err) < 0)
        return -1;
    return apply_entry(l, path, err) < 0 ? wrap_entry(err, path) : 0;
}

/* Behind the archive's end there may be padding; it is unpacked as well, so that damage shows. */
static int read_rest(struct layer *l, struct runner_error *err)
{
    const void *data;
    ssize_t n;

    do {
        if (l->im->tick(l->im->ctx, err) < 0)
            return -1;
        n = stream_read(l->stream, &data, err);
    } while (n > 0);
    return n < 0 ? -1 : 0;
}

int layer_apply(struct image *im, struct stream *stream, struct runner_error *err)
{
    struct layer l = {.im = im, .stream = stream, .archive = archive_read_new(), .err = ERROR_INIT};
    int status = 0;

    if (l.archive == NULL)
        mem_die();
    im->layer++;
    if (archive_read_support_format_tar(l.archive) != ARCHIVE_OK ||
        archive_read_support_format_empty(l.archive) != ARCHIVE_OK ||
        archive_read_open(l.archive, &l, NULL, on_read, NULL) != ARCHIVE_OK)
        status = fail_archive(&l, err);
    while (status == 0)
        status = next_entry(&l, err);
    if (status == 1)
        status = read_rest(&l, err);
    archive_read_free(l.archive);
    stream_next(stream);
    return status;
}
