#include "core/http/body.h"

#include <string.h>

#define EXTRA_MAX 16384 /* chunk extensions of one chunk, or all trailers */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE_START, LINE, LINE_LF, END_LF };

void body_init(struct body *body, enum body_mode mode, uint64_t length, uint64_t max)
{
    *body = (struct body){.mode = (uint8_t)mode, .max = max};
    if (mode == BODY_LENGTH)
        body->left = body->taken = length;
    body->is_done = mode == BODY_NONE || (mode == BODY_LENGTH && length == 0);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* One byte of a chunk size: a digit, or what may end it. */
static bool size_byte(struct body *b, char c)
{
    int digit = hex_digit(c);

    if (digit >= 0) {
        if (++b->digits > 15) /* 60 bits are plenty, and no sum overflows */
            return false;
        b->left = b->left * 16 + (uint64_t)digit;
        return true;
    }
    if (b->digits == 0 || (c != ';' && c != ' ' && c != '\t' && c != '\r'))
        return false;
    b->state = c == '\r' ? SIZE_LF : EXTENSION;
    return true;
}

static bool size_end(struct body *b, char c)
{
    if (c != '\n')
        return false;
    b->taken += b->left;
    b->state = b->left > 0 ? DATA : LINE_START;
    b->digits = 0;
    b->extra = 0;
    return true;
}

/* A byte of an extension or a trailer: only CR ends it, and controls but tab are refused. */
static bool line_byte(struct body *b, char c, uint8_t next)
{
    if (++b->extra > EXTRA_MAX || ((unsigned char)c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
        return false;
    if (c == '\r')
        b->state = next;
    return true;
}

/* Any byte but chunk data. */
static bool frame_byte(struct body *b, char c)
{
    switch (b->state) {
    case SIZE:
        return size_byte(b, c);
    case EXTENSION:
        return line_byte(b, c, SIZE_LF);
    case SIZE_LF:
        return size_end(b, c);
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        b->state = SIZE;
        return c == '\n';
    case LINE_START:
        b->state = c == '\r' ? END_LF : LINE;
        return c == '\r' || line_byte(b, c, LINE_LF);
    case LINE:
        return line_byte(b, c, LINE_LF);
    case LINE_LF:
        b->state = LINE_START;
        return c == '\n';
    default: /* END_LF */
        b->is_done = true;
        return c == '\n';
    }
}

static ssize_t chunked_take(struct body *b, const char *data, size_t len)
{
    size_t at = 0, part;

    while (at < len && !b->is_done) {
        if (b->state != DATA) {
            if (!frame_byte(b, data[at++]))
                return BODY_BAD;
            if (b->max > 0 && b->taken > b->max)
                return BODY_LARGE;
            continue;
        }
        part = len - at < b->left ? len - at : (size_t)b->left;
        at += part;
        b->left -= part;
        if (b->left == 0)
            b->state = DATA_CR;
    }
    return (ssize_t)at;
}

ssize_t body_take(struct body *body, const char *data, size_t len)
{
    if (body->is_done)
        return 0;
    if (body->mode == BODY_EOF)
        return (ssize_t)len;
    if (body->mode == BODY_CHUNKED)
        return chunked_take(body, data, len);
    if (len > body->left)
        len = (size_t)body->left;
    body->left -= len;
    body->is_done = body->left == 0;
    return (ssize_t)len;
}
