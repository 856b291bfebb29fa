#include "core/http/pump.h"

/* Hands the body's part of data on; *ret_used tells how much that was. */
static enum pump_result pump_pass(struct side *dst, struct body *body, const char *data, size_t len, size_t *ret_used)
{
    ssize_t taken = body_take(body, data, len);

    if (taken < 0)
        return taken == BODY_LARGE ? PUMP_LARGE : PUMP_BAD;
    *ret_used = (size_t)taken;
    return side_write(dst, data, (size_t)taken) < 0 ? PUMP_DST_ERROR : PUMP_DONE;
}

static enum pump_result pump_waiting(struct side *src, struct side *dst, struct body *body, size_t *ret_used)
{
    enum pump_result result = pump_pass(dst, body, bytes_at(&src->in), src->in.len, ret_used);

    if (result == PUMP_DONE) {
        bytes_skip(&src->in, *ret_used);
        if (src->in.len == 0)
            bytes_done(&src->in);
    }
    return result;
}

static enum pump_result pump_socket(struct side *src, struct side *dst, struct body *body, char *scratch,
                                    size_t *ret_used)
{
    ssize_t n = src->rd ? side_recv(src, scratch, PUMP_CHUNK) : SIDE_WAIT;
    enum pump_result result;

    *ret_used = 0;
    if (n == SIDE_WAIT)
        return PUMP_WAIT;
    if (n == SIDE_EOF && body->mode == BODY_EOF)
        body->is_done = true;
    if (n <= 0)
        return n == SIDE_ERROR ? PUMP_SRC_ERROR : body->is_done ? PUMP_DONE : PUMP_SRC_EOF;
    result = pump_pass(dst, body, scratch, (size_t)n, ret_used);
    if (result == PUMP_DONE)
        bytes_add(&src->in, scratch + *ret_used, (size_t)n - *ret_used);
    return result;
}

enum pump_result pump(struct side *src, struct side *dst, struct body *body, char scratch[PUMP_CHUNK], size_t *budget)
{
    enum pump_result result;
    size_t used;

    for (;;) {
        if (side_flush(dst) < 0)
            return PUMP_DST_ERROR;
        if (body->is_done)
            return PUMP_DONE;
        if (dst->out.len > 0)
            return PUMP_WAIT;
        if (*budget == 0)
            return PUMP_TURN;
        result = src->in.len > 0 ? pump_waiting(src, dst, body, &used) : pump_socket(src, dst, body, scratch, &used);
        if (result != PUMP_DONE)
            return result;
        *budget -= used < *budget ? used : *budget;
    }
}
