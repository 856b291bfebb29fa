#include "plugins/storage/oci/convert-stream.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "plugins/storage/oci/convert-unpack.h"
#include "plugins/storage/oci/digest.h"

#define CHUNK       ((size_t)256 << 10)
#define CHUNKS      8
#define IN_SIZE     ((size_t)128 << 10)
#define RATIO_GRACE ((uint64_t)64 << 20)

struct chunk {
    size_t len;
    bool is_last; /* of its layer; may be empty */
    uint8_t *data;
};

struct stream {
    const struct convert_layer *layers;
    const struct convert_bounds *bounds;
    size_t n_layers;
    uint64_t total;
    pthread_t thread;
    bool is_started, is_taken, is_at_end; /* the taker's: it holds a chunk; that was the layer's last */
    const char (*diff_ids)[65];           /* or NULL */
    size_t at;                            /* the taker's: which layer */
    struct digest *inner; /* of its tar so far; the taker has more time than the thread, which unpacks */
    uint8_t *memory, *in;
    struct chunk chunks[CHUNKS];
    _Atomic uint64_t taken;
    uint64_t unpacked; /* the thread's: of all layers */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    unsigned filled, used; /* chunks, counted on for ever: filled - used of them are full */
    bool is_stopping, has_failed;
    struct runner_error err;
};

/* The next chunk to fill, or NULL: nobody wants more. */
static struct chunk *chunk_wait(struct stream *s)
{
    struct chunk *c;

    pthread_mutex_lock(&s->lock);
    while (s->filled - s->used == CHUNKS && !s->is_stopping)
        pthread_cond_wait(&s->changed, &s->lock);
    c = s->is_stopping ? NULL : &s->chunks[s->filled % CHUNKS];
    pthread_mutex_unlock(&s->lock);
    if (c != NULL)
        c->len = 0, c->is_last = false;
    return c;
}

static void chunk_give(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->filled++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

struct source { /* one layer; the thread's */
    struct stream *s;
    int fd;
    uint64_t size, unpacked;
    struct unpack unpack;
    struct unpack_io io;
    struct digest *digest; /* of the blob, so far */
    bool is_at_end;        /* of the blob */
};

static int source_fill(struct source *from, struct runner_error *err)
{
    ssize_t n;

    do
        n = read(from->fd, from->s->in, IN_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail_errno(err, errno, "read");
    digest_add(from->digest, from->s->in, (size_t)n);
    from->io.in = from->s->in;
    from->io.in_len = n;
    from->is_at_end = n == 0;
    atomic_fetch_add_explicit(&from->s->taken, n, memory_order_relaxed);
    return 0;
}

static int source_check_bounds(const struct source *from, struct runner_error *err)
{
    const struct convert_bounds *bounds = from->s->bounds;

    if (from->s->unpacked > bounds->total_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "the image has more than %" PRIu64 " MiB", bounds->total_bytes >> 20);
    if (from->unpacked > RATIO_GRACE + from->size * bounds->ratio)
        return fail(err, RUNNER_E_INVALID, 0, "it grows to more than %" PRIu32 " times its size", bounds->ratio);
    return 0;
}

/* Fills a chunk, or what the layer still has. */
static int source_chunk(struct source *from, struct chunk *c, struct runner_error *err)
{
    from->io.out = c->data;
    from->io.out_len = CHUNK;
    for (;;) {
        size_t in_len, out_len;

        if (from->io.in_len == 0 && !from->is_at_end && source_fill(from, err) < 0)
            return -1;
        in_len = from->io.in_len, out_len = from->io.out_len;
        if (unpack_some(&from->unpack, &from->io, err) < 0)
            return -1;
        if (from->io.out_len == 0)
            break;
        if (from->is_at_end && in_len == from->io.in_len && out_len == from->io.out_len) {
            if (!from->unpack.is_between)
                return fail(err, RUNNER_E_INVALID, 0, "it is cut off");
            c->is_last = true;
            break;
        }
    }
    c->len = CHUNK - from->io.out_len;
    from->unpacked += c->len;
    from->s->unpacked += c->len;
    return source_check_bounds(from, err);
}

static int source_check_digest(const struct source *from, const char *wanted, struct runner_error *err)
{
    char hex[65];

    digest_end(from->digest, hex);
    if (wanted != NULL && strcmp(hex, wanted) != 0)
        return fail(err, RUNNER_E_INVALID, 0, "its blob is sha256:%s by now", hex);
    return 0;
}

/* 1: nobody wants more. The last chunk is not given before the digest is known to be right. */
static int source_run(struct source *from, const char *wanted, struct runner_error *err)
{
    struct chunk *c;

    do {
        c = chunk_wait(from->s);
        if (c == NULL)
            return 1;
        if (source_chunk(from, c, err) < 0 || (c->is_last && source_check_digest(from, wanted, err) < 0))
            return -1;
        chunk_give(from->s);
    } while (!c->is_last);
    return 0;
}

static int layer_run(struct stream *s, const struct convert_layer *layer, struct runner_error *err)
{
    struct source from = {.s = s};
    auto_close int fd = open(layer->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int status;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "open '%s'", layer->path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    from.fd = fd;
    from.size = st.st_size;
    if (unpack_init(&from.unpack, layer->media_type, err) < 0)
        return -1;
    from.digest = digest_new();
    status = source_run(&from, layer->digest, err);
    unpack_done(&from.unpack);
    digest_free(from.digest);
    return status;
}

static void *stream_main(void *arg)
{
    struct stream *s = arg;
    struct runner_error err = ERROR_INIT;
    int status = 0;

    for (size_t i = 0; i < s->n_layers && status == 0; i++)
        status = layer_run(s, &s->layers[i], &err);
    if (status < 0) {
        pthread_mutex_lock(&s->lock);
        s->has_failed = true;
        s->err = err;
        pthread_cond_signal(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static int stream_measure(struct stream *s, struct runner_error *err)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        struct unpack unpack;
        struct stat st;

        if (unpack_init(&unpack, s->layers[i].media_type, err) < 0)
            return error_wrap(err, "layer %s", s->layers[i].name);
        unpack_done(&unpack);
        if (stat(s->layers[i].path, &st) < 0)
            return fail_errno(err, errno, "layer %s: '%s'", s->layers[i].name, s->layers[i].path);
        s->total += st.st_size;
    }
    return 0;
}

/* Signals are for the threads that were there before. */
static int stream_start(struct stream *s, struct runner_error *err)
{
    sigset_t all, old;
    int status;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    status = pthread_create(&s->thread, NULL, stream_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (status != 0)
        return fail_errno(err, status, "start a thread");
    s->is_started = true;
    return 0;
}

int stream_open(const struct convert_layer *layers, size_t n, const char (*diff_ids)[65],
                const struct convert_bounds *bounds, struct stream **ret, struct runner_error *err)
{
    struct stream *s = mem_alloc(sizeof(*s));

    s->diff_ids = diff_ids;
    s->inner = diff_ids != NULL ? digest_new() : NULL;
    s->layers = layers;
    s->n_layers = n;
    s->bounds = bounds;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->memory = mem_alloc(CHUNKS * CHUNK + IN_SIZE);
    s->in = s->memory + CHUNKS * CHUNK;
    for (size_t i = 0; i < CHUNKS; i++)
        s->chunks[i].data = s->memory + i * CHUNK;
    if (stream_measure(s, err) < 0 || stream_start(s, err) < 0) {
        stream_close(s);
        return -1;
    }
    *ret = s;
    return 0;
}

/* The last bytes are not handed on before all of the tar is known to be right. */
static int check_inner(struct stream *s, const struct chunk *c, struct runner_error *err)
{
    char hex[65];

    if (s->inner == NULL)
        return 0;
    digest_add(s->inner, c->data, c->len);
    if (!c->is_last)
        return 0;
    digest_end(s->inner, hex);
    if (strcmp(hex, s->diff_ids[s->at]) == 0)
        return 0;
    return fail(err, RUNNER_E_INVALID, 0, "unpacked it is sha256:%s, and rootfs.diff_ids[%zu] says sha256:%s", hex,
                s->at, s->diff_ids[s->at]);
}

ssize_t stream_read(struct stream *s, const void **ret, struct runner_error *err)
{
    struct chunk *c = NULL;

    if (s->is_at_end)
        return 0;
    pthread_mutex_lock(&s->lock);
    if (s->is_taken) {
        s->used++;
        pthread_cond_signal(&s->changed);
    }
    s->is_taken = false;
    while (s->filled == s->used && !s->has_failed)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->filled != s->used)
        c = &s->chunks[s->used % CHUNKS];
    else
        error_copy(err, &s->err);
    pthread_mutex_unlock(&s->lock);
    if (c == NULL)
        return -1;
    s->is_taken = true;
    s->is_at_end = c->is_last;
    *ret = c->data;
    return check_inner(s, c, err) < 0 ? -1 : (ssize_t)c->len;
}

void stream_next(struct stream *s)
{
    s->is_at_end = false;
    s->at++;
}

uint64_t stream_taken(struct stream *s)
{
    return atomic_load_explicit(&s->taken, memory_order_relaxed);
}

uint64_t stream_total(const struct stream *s)
{
    return s->total;
}

void stream_close(struct stream *s)
{
    if (s == NULL)
        return;
    if (s->is_started) {
        pthread_mutex_lock(&s->lock);
        s->is_stopping = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    digest_free(s->inner);
    free(s->memory);
    free(s);
}
