#include "plugins/storage/oci/convert-unpack.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"

/* The memory that a reader must have: RFC 8878, 3.1.1.1.2, recommends 8 MiB as what all should take. */
#define WINDOW_LOG_MAX 23

struct packing {
    const char *name;
    void *(*begin)(void);
    int (*some)(struct unpack *, struct unpack_io *, struct runner_error *);
    void (*end)(void *state);
};

static int plain_some(struct unpack *u, struct unpack_io *io, struct runner_error *err)
{
    size_t n = io->in_len < io->out_len ? io->in_len : io->out_len;

    (void)err;
    memcpy(io->out, io->in, n);
    io->in += n, io->in_len -= n;
    io->out += n, io->out_len -= n;
    u->is_between = true;
    return 0;
}

static void *gzip_begin(void)
{
    z_stream *z = mem_alloc(sizeof(*z));

    if (inflateInit2(z, 15 + 16) != Z_OK) /* 16: gzip's frame and nothing else */
        mem_die();
    return z;
}

static void gzip_end(void *state)
{
    inflateEnd(state);
    free(state);
}

/* Zeros behind the last member are padding. */
static void gzip_skip_padding(struct unpack_io *io)
{
    while (io->in_len > 0 && *io->in == 0)
        io->in++, io->in_len--;
}

static int gzip_some(struct unpack *u, struct unpack_io *io, struct runner_error *err)
{
    z_stream *z = u->state;
    int status;

    if (u->is_between && z->total_in > 0) {
        gzip_skip_padding(io);
        if (io->in_len == 0)
            return 0;
        inflateReset(z);
    }
    u->is_between = false;
    z->next_in = (uint8_t *)(uintptr_t)io->in;
    z->avail_in = io->in_len;
    z->next_out = io->out;
    z->avail_out = io->out_len;
    status = inflate(z, Z_NO_FLUSH);
    io->in = z->next_in, io->in_len = z->avail_in;
    io->out = z->next_out, io->out_len = z->avail_out;
    u->is_between = status == Z_STREAM_END;
    if (status == Z_MEM_ERROR)
        mem_die();
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        return fail(err, RUNNER_E_INVALID, 0, "damaged gzip: %s", z->msg != NULL ? z->msg : "it cannot be unpacked");
    return 0;
}

static void *zstd_begin(void)
{
    ZSTD_DStream *z = ZSTD_createDStream();

    if (z == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        mem_die();
    return z;
}

static void zstd_end(void *state)
{
    ZSTD_freeDStream(state);
}

static int zstd_some(struct unpack *u, struct unpack_io *io, struct runner_error *err)
{
    ZSTD_inBuffer in = {io->in, io->in_len, 0};
    ZSTD_outBuffer out = {io->out, io->out_len, 0};
    size_t status = ZSTD_decompressStream(u->state, &out, &in);

    if (ZSTD_isError(status))
        return fail(err, RUNNER_E_INVALID, 0, "damaged zstd, or one that needs more than %d MiB: %s",
                    (1 << WINDOW_LOG_MAX) >> 20, ZSTD_getErrorName(status));
    io->in += in.pos, io->in_len -= in.pos;
    io->out += out.pos, io->out_len -= out.pos;
    if (in.pos > 0 || out.pos > 0)
        u->is_between = status == 0;
    return 0;
}

static const struct packing plain = {"plain", NULL, plain_some, NULL};
static const struct packing gzip = {"gzip", gzip_begin, gzip_some, gzip_end};
static const struct packing zstd = {"zstd", zstd_begin, zstd_some, zstd_end};

/* OCI image specification, media-types.md; Docker's image manifest v2, schema 2. */
static const struct {
    const char *media_type;
    const struct packing *packing;
} media_types[] = {
    {"application/vnd.oci.image.layer.v1.tar", &plain},
    {"application/vnd.oci.image.layer.v1.tar+gzip", &gzip},
    {"application/vnd.oci.image.layer.v1.tar+zstd", &zstd},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", &plain},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", &gzip},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", &zstd},
    {"application/vnd.docker.image.rootfs.diff.tar", &plain},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", &zstd},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar", &plain},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &gzip},
};

int unpack_init(struct unpack *u, const char *media_type, struct runner_error *err)
{
    size_t len = strcspn(media_type, "; ");

    for (size_t i = 0; i < ARRAY_LEN(media_types); i++) {
        if (strlen(media_types[i].media_type) != len || memcmp(media_types[i].media_type, media_type, len) != 0)
            continue;
        u->packing = media_types[i].packing;
        u->state = u->packing->begin != NULL ? u->packing->begin() : NULL;
        u->is_between = u->packing == &plain; /* an empty blob is no gzip and no zstd */
        return 0;
    }
    return fail(err, RUNNER_E_NOTSUP, 0, "media type '%.100s' is not that of a layer", media_type);
}

int unpack_some(struct unpack *u, struct unpack_io *io, struct runner_error *err)
{
    return u->packing->some(u, io, err);
}

void unpack_done(struct unpack *u)
{
    if (u->state != NULL)
        u->packing->end(u->state);
    u->state = NULL;
}
