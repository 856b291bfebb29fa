#include "guest/daemon/body.h"

#include <string.h>

#define LINE_MAX_BYTES 4096

enum { STAGE_SIZE, STAGE_DATA, STAGE_AFTER, STAGE_TRAILER };

static void set_length(struct body *b, int64_t length)
{
    b->mode = length > 0 ? BODY_LENGTH : BODY_NONE;
    b->left = length;
    b->is_done = length == 0;
}

void body_init_request(struct body *b, const struct head *h)
{
    *b = (struct body){.mode = BODY_CHUNKED};
    if (!h->is_chunked)
        set_length(b, h->has_length ? h->length : 0);
}

void body_init_response(struct body *b, const struct head *h, bool is_head_request)
{
    *b = (struct body){.mode = BODY_EOF};
    if (is_head_request || h->status < 200 || h->status == 204 || h->status == 304)
        set_length(b, 0);
    else if (h->is_chunked)
        b->mode = BODY_CHUNKED;
    else if (h->has_length)
        set_length(b, h->length);
}

static size_t take_up_to(struct body *b, struct evbuffer *in, struct evbuffer *out, size_t max)
{
    size_t n = evbuffer_get_length(in);

    if (n > max)
        n = max;
    if (b->mode != BODY_EOF && (uint64_t)n > (uint64_t)b->left)
        n = (size_t)b->left;
    (void)evbuffer_remove_buffer(in, out, n);
    if (b->mode != BODY_EOF)
        b->left -= (int64_t)n;
    return n;
}

static int parse_size(const char *line, int64_t *ret, struct runner_error *err)
{
    static const char hex[] = "0123456789abcdefABCDEF";
    size_t digits = strspn(line, hex);
    int64_t size = 0;

    if (digits == 0 || digits > 15 || (line[digits] != '\0' && line[digits] != ';' && line[digits] != ' '))
        return fail(err, RUNNER_E_INVALID, 0, "malformed chunk size");
    for (size_t i = 0; i < digits; i++) {
        size_t value = (size_t)(strchr(hex, line[i]) - hex);
        size = size * 16 + (int64_t)(value > 15 ? value - 6 : value);
    }
    *ret = size;
    return 0;
}

/* 1 and the line, without CRLF; 0 while it is not complete. The caller frees. */
static int take_line(struct evbuffer *in, char **ret_line, struct runner_error *err)
{
    struct evbuffer_ptr end = evbuffer_search_eol(in, NULL, NULL, EVBUFFER_EOL_CRLF_STRICT);

    if (end.pos < 0 ? evbuffer_get_length(in) > LINE_MAX_BYTES : end.pos > LINE_MAX_BYTES)
        return fail(err, RUNNER_E_INVALID, 0, "chunk line longer than %d bytes", LINE_MAX_BYTES);
    if (end.pos < 0)
        return 0;
    *ret_line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT);
    return 1;
}

/* One line of the framing: size, the empty one after data, or a trailer (dropped). 0: not there yet. */
static int chunk_line(struct body *b, struct evbuffer *in, struct runner_error *err)
{
    auto_free char *line = NULL;
    int got = take_line(in, &line, err);

    if (got <= 0)
        return got;
    if (b->stage == STAGE_AFTER) {
        if (*line != '\0')
            return fail(err, RUNNER_E_INVALID, 0, "no CRLF after a chunk");
        b->stage = STAGE_SIZE;
    } else if (b->stage == STAGE_TRAILER) {
        b->is_done = *line == '\0';
    } else {
        if (parse_size(line, &b->left, err) < 0)
            return -1;
        b->stage = b->left > 0 ? STAGE_DATA : STAGE_TRAILER;
    }
    return 1;
}

static int take_chunked(struct body *b, struct evbuffer *in, struct evbuffer *out, size_t max, struct runner_error *err)
{
    while (!b->is_done && max > 0) {
        if (b->stage == STAGE_DATA) {
            size_t n = take_up_to(b, in, out, max);
            if (n == 0)
                return 0;
            max -= n;
            if (b->left == 0)
                b->stage = STAGE_AFTER;
        } else {
            int got = chunk_line(b, in, err);
            if (got <= 0)
                return got;
        }
    }
    return 0;
}

int body_take(struct body *b, struct evbuffer *in, struct evbuffer *out, size_t max, struct runner_error *err)
{
    if (b->is_done)
        return 0;
    if (b->mode == BODY_CHUNKED)
        return take_chunked(b, in, out, max, err);
    (void)take_up_to(b, in, out, max);
    b->is_done = b->mode == BODY_LENGTH && b->left == 0;
    return 0;
}
