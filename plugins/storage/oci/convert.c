#include "plugins/storage/oci/convert.h"

#include <fcntl.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/util/json.h"
#include "plugins/storage/oci/convert-finish.h"

static const struct convert_bounds defaults = {
    .layers = 512,
    .entries = 700000,
    .depth = 256,
    .ratio = 200,
    .total_bytes = (uint64_t)128 << 30,
    .file_bytes = (uint64_t)64 << 30,
    .xattr_bytes = 4000,
};

struct conversion {
    const struct convert_request *request;
    struct convert_bounds bounds;
    struct image_config config;
    struct image image;
    struct stream *stream;
    int fd;
};

static int on_tick(void *ctx, struct runner_error *err)
{
    struct conversion *c = ctx;
    const struct convert_request *r = c->request;
    struct runner_progress progress = {.size = sizeof(progress), .phase = "convert"};
    int code = r->cancelled != NULL ? r->cancelled(r->ctx) : 0;

    if (code != 0)
        return fail(err, code, 0, code == RUNNER_E_TIMEOUT ? "there was no time left" : "cancelled");
    if (r->progress != NULL) {
        progress.done_bytes = stream_taken(c->stream);
        progress.total_bytes = stream_total(c->stream);
        r->progress(r->ctx, &progress);
    }
    return 0;
}

static void fill_bounds(struct convert_bounds *b)
{
#define FILL(name) (b->name = b->name != 0 ? b->name : defaults.name)
    FILL(layers);
    FILL(entries);
    FILL(depth);
    FILL(ratio);
    FILL(total_bytes);
    FILL(file_bytes);
    FILL(xattr_bytes);
#undef FILL
}

static int image_init(struct conversion *c, struct runner_error *err)
{
    struct inode_meta meta = {.mode = S_IFDIR | 0755};
    struct image *im = &c->image;
    union inode root;

    im->bounds = &c->bounds;
    im->now_s = time(NULL);
    im->tick = on_tick;
    im->ctx = c;
    if (blocks_init(&im->blocks, c->fd, err) < 0 || tree_init(&im->tree, c->bounds.entries, err) < 0 ||
        inodes_init(&im->inodes, &im->blocks, c->request->uuid, c->bounds.entries + 1, err) < 0)
        return -1;
    inode_init(&root, &meta);
    im->tree.nodes[TREE_ROOT].inode = INODE_ROOT;
    im->inodes.links[INODE_ROOT] = 2;
    return inodes_put(&im->inodes, INODE_ROOT, &root, err);
}

static void image_done(struct image *im)
{
    content_done(&im->content);
    inodes_done(&im->inodes);
    tree_done(&im->tree);
    blocks_done(&im->blocks);
}

/* What a path leads to in the image, a file; NULL: none. */
static const char *file_name(struct image *im, const char *path, struct place *ret)
{
    struct runner_error err = ERROR_INIT;

    if (tree_resolve(&im->tree, path, true, NULL, NULL, ret, &err) < 0 || ret->dir == 0 || ret->node == 0 ||
        im->tree.nodes[ret->node].kind != NODE_FILE)
        return NULL;
    return ret->name;
}

/* systemd is meant to be process 1: /sbin/init is it, or there is none and it is installed. */
static bool has_systemd(struct image *im)
{
    struct place at;
    const char *name = file_name(im, "sbin/init", &at);

    if (name != NULL)
        return strcmp(name, "systemd") == 0;
    return file_name(im, "lib/systemd/systemd", &at) != NULL || file_name(im, "usr/lib/systemd/systemd", &at) != NULL;
}

static int apply_layers(struct conversion *c, struct runner_error *err)
{
    const struct convert_request *r = c->request;

    if (stream_open(r->layers, r->n_layers, c->config.diff_ids, &c->bounds, &c->stream, err) < 0)
        return -1;
    for (size_t i = 0; i < r->n_layers; i++)
        if (layer_apply(&c->image, c->stream, err) < 0)
            return error_wrap(err, "layer %s", r->layers[i].name);
    return on_tick(c, err);
}

static int run(struct conversion *c, struct convert_result *ret, struct runner_error *err)
{
    if (image_init(c, err) < 0 || apply_layers(c, err) < 0 ||
        volumes_make(&c->image, c->config.volumes, c->config.n_volumes, err) < 0)
        return -1;
    ret->entries = c->image.tree.entries;
    json_add_text(&c->config.members, "init", has_systemd(&c->image) ? "systemd" : "");
    json_close(&c->config.members, '}');
    return directories_write(&c->image, err) < 0 ||
                   finish_disk(&c->image, c->request->path, c->request->uuid, ret, err) < 0
               ? -1
               : 0;
}

/* libarchive takes a name as it is where the locale's characters are bytes. In UTF-8 it would compose some anew. */
static int run_with_bytes(struct conversion *c, struct convert_result *ret, struct runner_error *err)
{
    locale_t bytes = newlocale(LC_ALL_MASK, "C", (locale_t)0), old;
    int status;

    if (bytes == (locale_t)0)
        return fail_errno(err, errno, "locale C");
    old = uselocale(bytes);
    status = run(c, ret, err);
    uselocale(old);
    freelocale(bytes);
    return status;
}

static int check_diff_ids(const struct conversion *c, struct runner_error *err)
{
    const size_t n = c->request->n_layers;

    if (!c->config.has_diff_ids && c->request->needs_diff_ids && n > 0)
        return fail(err, RUNNER_E_INVALID, 0,
                    "the image's configuration has no rootfs.diff_ids, and the image %zu layers", n);
    if (c->config.has_diff_ids && c->config.n_diff_ids != n)
        return fail(err, RUNNER_E_INVALID, 0,
                    "the image's configuration has %zu rootfs.diff_ids, and the image %zu layers", c->config.n_diff_ids,
                    n);
    return 0;
}

static int convert(struct conversion *c, struct convert_result *ret, struct runner_error *err)
{
    const struct convert_request *r = c->request;

    fill_bounds(&c->bounds);
    if (r->n_layers > c->bounds.layers)
        return fail(err, RUNNER_E_INVALID, 0, "the image has %zu layers, more than %u", r->n_layers, c->bounds.layers);
    if (image_config_read(r->config, r->config_len, &c->config, err) < 0 || check_diff_ids(c, err) < 0)
        return -1;
    c->fd = open(r->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (c->fd < 0)
        return fail_errno(err, errno, "make '%s'", r->path);
    if (run_with_bytes(c, ret, err) < 0) {
        (void)unlink(r->path);
        return -1;
    }
    return 0;
}

int convert_image(const struct convert_request *request, struct convert_result *ret, struct runner_error *err)
{
    struct conversion c = {.request = request, .bounds = request->bounds, .fd = -1};
    struct convert_result result = {0};
    int status = convert(&c, &result, err);

    stream_close(c.stream);
    image_done(&c.image);
    if (c.fd >= 0)
        close(c.fd);
    if (status == 0) {
        result.image_json = str_steal(&c.config.members);
        *ret = result;
    }
    image_config_done(&c.config);
    return status;
}
