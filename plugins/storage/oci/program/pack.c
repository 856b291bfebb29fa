#include "plugins/storage/oci/program/pack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "core/util/json.h"
#include "plugins/storage/oci/program/report.h"

#define CHUNK_BYTES (1 << 20)
#define BLOCK_BYTES 4096 /* zeros of so many bytes become a hole */
#define LEVEL       3
#define WINDOW_LOG  27 /* what is unpacked needs no more than 128 MiB */
#define MANIFEST    "application/vnd.docker.distribution.manifest.v2+json" /* what every registry gives to everyone */

/* ---- packing ---- */

struct packing {
    int from, to;
    int64_t size, read;
    ZSTD_CCtx *zstd;
    struct digest *digest;
    char in[CHUNK_BYTES], out[CHUNK_BYTES];
};

/* The next chunk; of a hole zeros that were not read. */
static ssize_t read_chunk(struct packing *p, struct runner_error *err)
{
    int64_t left = p->size - p->read, data = lseek(p->from, p->read, SEEK_DATA);
    size_t want = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES, done = 0;

    if ((data < 0 && errno == ENXIO) || data >= p->read + (int64_t)want) {
        memset(p->in, 0, want);
        return (ssize_t)want;
    }
    while (done < want) {
        ssize_t n = pread(p->from, p->in + done, want - done, p->read + (int64_t)done);

        if (n <= 0 && !(n < 0 && errno == EINTR))
            return fail_errno(err, n < 0 ? errno : EIO, "disk");
        done += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)want;
}

static int write_out(struct packing *p, size_t len, struct runner_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(p->to, p->out + done, len - done);

        if (n < 0 && errno != EINTR)
            return fail_errno(err, errno, "packed disk");
        done += n > 0 ? (size_t)n : 0;
    }
    digest_add(p->digest, p->out, len);
    return 0;
}

static int pack_chunk(struct packing *p, size_t len, bool is_last, struct runner_error *err)
{
    ZSTD_inBuffer in = {p->in, len, 0};
    size_t left;

    do {
        ZSTD_outBuffer out = {p->out, sizeof p->out, 0};

        left = ZSTD_compressStream2(p->zstd, &out, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return fail(err, RUNNER_E_IO, 0, "packing the disk: %s", ZSTD_getErrorName(left));
        if (write_out(p, out.pos, err) < 0)
            return -1;
    } while (is_last ? left > 0 : in.pos < in.size);
    return 0;
}

static int pack_all(struct packing *p, struct runner_error *err)
{
    do {
        ssize_t n = read_chunk(p, err);

        if (n < 0 || report_check(err) < 0)
            return -1;
        p->read += n;
        if (pack_chunk(p, (size_t)n, p->read == p->size, err) < 0)
            return -1;
        report_progress("pack", (uint64_t)p->read, (uint64_t)p->size);
    } while (p->read < p->size);
    return 0;
}

static int pack_file(int from, int64_t size, const struct store *store, struct descriptor *ret,
                     struct runner_error *err)
{
    auto_free struct packing *p = mem_alloc(sizeof *p);
    struct store_new made;
    int status;

    if (store_begin(store, &made, err) < 0)
        return -1;
    p->from = from;
    p->size = size;
    p->to = made.fd;
    p->digest = made.digest;
    p->zstd = ZSTD_createCCtx();
    if (p->zstd == NULL)
        mem_die();
    (void)ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_checksumFlag, 1);
    (void)ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_nbWorkers, 2); /* where zstd has threads */
    status = pack_all(p, err);
    ZSTD_freeCCtx(p->zstd);
    return store_end(store, &made, status == 0, ret, err) < 0 || status < 0 ? -1 : 0;
}

static int pack_config(int64_t size, const char *image_json, const struct store *store, char **ret_text,
                       struct descriptor *ret, struct runner_error *err)
{
    auto_json struct json *image = NULL;
    auto_str struct str text = STR_INIT;
    struct store_new made;
    ssize_t n;

    if (json_parse(image_json, strlen(image_json), &image, err) < 0)
        return error_wrap(err, "how the disk wants to be run");
    json_open(&text, NULL, '{');
    json_add_text(&text, "architecture", "amd64");
    json_add_text(&text, "os", "linux");
    json_open(&text, "disk", '{');
    json_add_int(&text, "size", size);
    json_close(&text, '}');
    json_add_tree(&text, "image", image);
    json_close(&text, '}');
    if (text.len > MANIFEST_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "how the disk wants to be run: more than %d bytes", MANIFEST_MAX);
    if (store_begin(store, &made, err) < 0)
        return -1;
    n = write(made.fd, text.ptr, text.len);
    digest_add(made.digest, text.ptr, text.len);
    if (n != (ssize_t)text.len)
        (void)fail_errno(err, n < 0 ? errno : ENOSPC, "configuration of the disk");
    if (store_end(store, &made, n == (ssize_t)text.len, ret, err) < 0 || n != (ssize_t)text.len)
        return -1;
    *ret_text = str_steal(&text);
    return 0;
}

static void add_descriptor(struct str *out, const char *key, const char *media_type, const struct descriptor *d)
{
    json_open(out, key, '{');
    json_add_text(out, "mediaType", media_type);
    json_add_int(out, "size", d->size_bytes);
    json_add_text(out, "digest", d->digest);
    json_close(out, '}');
}

static int make_manifest(const struct descriptor *config, const struct descriptor *layer,
                         const struct manifest_limits *limits, struct manifest *ret, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;

    json_open(&text, NULL, '{');
    json_add_int(&text, "schemaVersion", 2);
    json_add_text(&text, "mediaType", MANIFEST);
    add_descriptor(&text, "config", MANIFEST_DISK_CONFIG, config);
    json_open(&text, "layers", '[');
    add_descriptor(&text, NULL, MANIFEST_DISK_LAYER, layer);
    json_close(&text, ']');
    json_close(&text, '}');
    return manifest_parse(text.ptr, text.len, MANIFEST, limits, ret, err);
}

int pack_disk(int fd, const char *path, const char *image_json, const struct store *store,
              const struct manifest_limits *limits, struct image *ret, struct runner_error *err)
{
    struct descriptor config = {.digest = NULL}, layer = {.digest = NULL};
    struct stat st;
    int status;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, errno, "disk '%s'", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > PACK_DISK_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "disk '%s': no file of 1 byte to 16 TiB", path);
    *ret = (struct image){.n_blobs = 0}; /* its blobs refer to its manifest: it stays where it is */
    status = pack_file(fd, st.st_size, store, &layer, err);
    if (status == 0)
        status = pack_config(st.st_size, image_json, store, &ret->config, &config, err);
    if (status == 0)
        status = make_manifest(&config, &layer, limits, &ret->manifest, err);
    if (status == 0)
        status = image_take(store, ret, err);
    free(config.digest);
    free(layer.digest);
    if (status < 0) {
        image_done(ret);
        return error_wrap(err, "disk '%s'", path);
    }
    return 0;
}

/* ---- unpacking ---- */

int pack_read_config(const char *config, struct packed *ret, struct runner_error *err)
{
    auto_json struct json *tree = NULL;
    auto_str struct str image = STR_INIT;
    int64_t size;

    if (json_parse(config, strlen(config), &tree, err) < 0)
        return error_wrap(err, "configuration of the disk");
    size = json_int(json_get(tree, "disk"), "size", 0);
    if (size < 1 || size > PACK_DISK_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "configuration of the disk: a size of %lld bytes", (long long)size);
    if (json_get(tree, "image") != NULL && json_get(tree, "image")->type == JSON_OBJECT)
        json_add_tree(&image, NULL, json_get(tree, "image"));
    else
        str_add(&image, "{}");
    ret->disk_bytes = size;
    ret->image_json = str_steal(&image);
    return 0;
}

struct unpacking {
    const struct blob *blob;
    int to;
    int64_t size, written, taken;
    struct digest *digest; /* of what is taken */
    ZSTD_DCtx *zstd;
    char in[CHUNK_BYTES], out[CHUNK_BYTES];
};

static bool is_zero(const char *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* In blocks, so that what is zero stays a hole. */
static int put(struct unpacking *u, const char *data, size_t len, struct runner_error *err)
{
    if ((int64_t)len > u->size - u->written)
        return fail(err, RUNNER_E_INVALID, 0, "disk: more than the %lld bytes that its configuration says",
                    (long long)u->size);
    while (len > 0) {
        size_t part = (size_t)(BLOCK_BYTES - u->written % BLOCK_BYTES);
        ssize_t n;

        part = part < len ? part : len;
        n = is_zero(data, part) ? (ssize_t)part : pwrite(u->to, data, part, u->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "disk");
        data += n;
        len -= (size_t)n;
        u->written += n;
    }
    return 0;
}

static int unpack_chunk(struct unpacking *u, size_t len, size_t *ret_left, struct runner_error *err)
{
    ZSTD_inBuffer in = {u->in, len, 0};
    ZSTD_outBuffer out;

    do {
        out = (ZSTD_outBuffer){u->out, sizeof u->out, 0};
        *ret_left = ZSTD_decompressStream(u->zstd, &out, &in);
        if (ZSTD_isError(*ret_left))
            return fail(err, RUNNER_E_INVALID, 0, "disk: %s", ZSTD_getErrorName(*ret_left));
        if (out.pos > 0 && put(u, u->out, out.pos, err) < 0)
            return -1;
    } while (in.pos < in.size || (*ret_left != 0 && out.pos == out.size)); /* at its end it is not asked again */
    return 0;
}

static int unpack_all(struct unpacking *u, struct runner_error *err)
{
    size_t left = 1;
    char hex[65];
    ssize_t n;

    while ((n = pread(u->blob->fd, u->in, sizeof u->in, u->taken)) > 0) {
        if (report_check(err) < 0 || unpack_chunk(u, (size_t)n, &left, err) < 0)
            return -1;
        digest_add(u->digest, u->in, (size_t)n);
        u->taken += n;
        report_progress("convert", (uint64_t)u->taken, (uint64_t)u->blob->have);
    }
    if (n < 0)
        return fail_errno(err, errno, "blob '%s'", u->blob->path);
    digest_end(u->digest, hex);
    if (strcmp(hex, REF_HEX(u->blob->d->digest)) != 0)
        return fail(err, RUNNER_E_INVALID, 0, "disk: its blob is sha256:%s by now", hex);
    if (left != 0 || u->written != u->size)
        return fail(err, RUNNER_E_INVALID, 0, "disk: %lld bytes, its configuration says %lld", (long long)u->written,
                    (long long)u->size);
    if (ftruncate(u->to, u->size) < 0 || fsync(u->to) < 0)
        return fail_errno(err, errno, "disk");
    return 0;
}

int pack_unpack(const struct image *image, int64_t disk_bytes, const char *path, int64_t *ret_content_bytes,
                struct runner_error *err)
{
    auto_free struct unpacking *u = mem_alloc(sizeof *u);
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    int status;

    if (fd < 0)
        return fail_errno(err, errno, "disk '%s'", path);
    u->blob = image_blob(image, image->manifest.layers[0].digest);
    u->to = fd;
    u->size = disk_bytes;
    u->digest = digest_new();
    u->zstd = ZSTD_createDCtx();
    if (u->zstd == NULL)
        mem_die();
    (void)ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    status = unpack_all(u, err);
    ZSTD_freeDCtx(u->zstd);
    digest_free(u->digest);
    if (status == 0 && fstat(fd, &st) < 0)
        status = fail_errno(err, errno, "disk '%s'", path);
    if (status < 0) {
        (void)unlink(path);
        return -1;
    }
    *ret_content_bytes = (int64_t)st.st_blocks * 512;
    return 0;
}
