#include "guest/daemon/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE_MAX (64 * 1024)

struct record { /* before each piece in the file */
    uint32_t stream, len;
};

struct log_follower {
    struct log *log;
    log_news_fn *news;
    void *arg;
    struct log_follower *next;
};

struct log {
    int fd, refs;
    int64_t size;
    bool is_ended, is_full;
    struct log_follower *followers;
};

struct log *log_new(struct runner_error *err)
{
    const char *dir = getenv("TMPDIR");
    struct log *l = mem_alloc(sizeof *l);

    l->refs = 1;
    l->fd = open(dir == NULL ? "/tmp" : dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (l->fd < 0)
        l->fd = memfd_create("log", MFD_CLOEXEC);
    if (l->fd < 0) {
        (void)fail_errno(err, errno, "log file");
        free(l);
        return NULL;
    }
    return l;
}

struct log *log_ref(struct log *l)
{
    l->refs++;
    return l;
}

void log_unref(struct log *l)
{
    if (l == NULL || --l->refs > 0)
        return;
    close(l->fd);
    free(l);
}

/* A follower may leave from within its call, so the next one is taken before. */
static void tell(struct log *l)
{
    struct log_follower *next;

    for (struct log_follower *f = l->followers; f != NULL; f = next) {
        next = f->next;
        f->news(f->arg);
    }
}

static void add_piece(struct log *l, enum log_stream stream, const char *data, size_t len)
{
    struct record r = {stream, (uint32_t)len};

    if (pwrite(l->fd, &r, sizeof r, l->size) != (ssize_t)sizeof r ||
        pwrite(l->fd, data, len, l->size + (int64_t)sizeof r) != (ssize_t)len) {
        l->is_full = true; /* the disk is: what is there stays readable */
        return;
    }
    l->size += (int64_t)(sizeof r + len);
}

void log_add(struct log *l, enum log_stream stream, const void *data, size_t len)
{
    static const char cut[] = "\n[log cut]\n";

    for (const char *at = data; len > 0 && !l->is_full;) {
        size_t n = len < PIECE_MAX ? len : PIECE_MAX;
        if (l->size + (int64_t)n > LOG_MAX) {
            add_piece(l, LOG_STDERR, cut, sizeof cut - 1);
            l->is_full = true;
            break;
        }
        add_piece(l, stream, at, n);
        at += n;
        len -= n;
    }
    tell(l);
}

void log_end(struct log *l)
{
    l->is_ended = true;
    tell(l);
}

bool log_is_ended(const struct log *l)
{
    return l->is_ended;
}

bool log_next(const struct log *l, int64_t *offset, enum log_stream *ret_stream, struct str *piece)
{
    struct record r;

    if (*offset >= l->size || pread(l->fd, &r, sizeof r, *offset) != (ssize_t)sizeof r)
        return false;
    str_clear(piece);
    str_reserve(piece, r.len);
    if (pread(l->fd, piece->ptr, r.len, *offset + (int64_t)sizeof r) != (ssize_t)r.len)
        return false;
    piece->len = r.len;
    piece->ptr[r.len] = '\0';
    *ret_stream = r.stream;
    *offset += (int64_t)sizeof r + r.len;
    return true;
}

void log_add_mark(struct str *out, enum log_stream stream)
{
    for (int i = 0; i < 3; i++)
        str_add_char(out, (char)stream);
}

void log_read(const struct log *l, int stream, bool with_marks, struct str *out)
{
    auto_str struct str piece = STR_INIT;
    enum log_stream of;
    int64_t offset = 0;

    while (log_next(l, &offset, &of, &piece)) {
        if (stream != 0 && (int)of != stream)
            continue;
        if (with_marks)
            log_add_mark(out, of);
        str_add_mem(out, piece.ptr, piece.len);
    }
}

struct log_follower *log_follow(struct log *l, log_news_fn *news, void *arg)
{
    struct log_follower *f = mem_alloc(sizeof *f);

    *f = (struct log_follower){log_ref(l), news, arg, l->followers};
    l->followers = f;
    return f;
}

void log_unfollow(struct log_follower *f)
{
    if (f == NULL)
        return;
    for (struct log_follower **at = &f->log->followers; *at != NULL; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    log_unref(f->log);
    free(f);
}
