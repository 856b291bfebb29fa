#include "plugins/storage/oci/convert-blocks.h"

#include <fcntl.h>
#include <string.h>

#include "core/util/str.h"
#include "plugins/storage/oci/convert-zeros.h"

#define BUFFER_SIZE ((size_t)1 << 20)
#define START_STEP  ((uint64_t)16 << 20) /* the kernel begins to write so much at a time, while more is made */

static bool is_power(uint64_t n, uint64_t of)
{
    while (n % of == 0)
        n /= of;
    return n == 1;
}

bool blocks_group_has_copy(uint64_t group)
{
    return group <= 1 || is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

int blocks_init(struct blocks *b, int fd, struct runner_error *err)
{
    memset(b, 0, sizeof(*b));
    b->used = zeros_map(BLOCKS_MAX / 8);
    if (b->used == NULL)
        return fail_errno(err, errno, "memory for a map of the disk");
    b->buffer = mem_alloc(BUFFER_SIZE);
    b->fd = fd;
    return 0;
}

void blocks_done(struct blocks *b)
{
    zeros_unmap(b->used, BLOCKS_MAX / 8);
    free(b->buffer);
    memset(b, 0, sizeof(*b));
}

static bool is_used(const struct blocks *b, uint64_t block)
{
    return (b->used[block / 8] >> block % 8 & 1) != 0;
}

static void mark(struct blocks *b, uint64_t start, uint64_t n, bool used)
{
    for (; n > 0 && start % 8 != 0; start++, n--)
        b->used[start / 8] = used ? b->used[start / 8] | 1 << start % 8 : b->used[start / 8] & ~(1 << start % 8);
    memset(b->used + start / 8, used ? 0xff : 0, n / 8);
    for (start += n / 8 * 8, n %= 8; n > 0; start++, n--)
        b->used[start / 8] = used ? b->used[start / 8] | 1 << start % 8 : b->used[start / 8] & ~(1 << start % 8);
}

/* Moves next behind a group's copies; how many lie together from there on. */
static uint64_t room(struct blocks *b)
{
    uint64_t group = b->next / GROUP_BLOCKS, first = group * GROUP_BLOCKS;

    if (blocks_group_has_copy(group) && b->next < first + 1 + GDT_BLOCKS) {
        mark(b, b->next, first + 1 + GDT_BLOCKS - b->next, true);
        b->next = first + 1 + GDT_BLOCKS;
    }
    while (!blocks_group_has_copy(group + 1) && group + 1 - b->next / GROUP_BLOCKS < 8)
        group++;
    return (group + 1) * GROUP_BLOCKS - b->next;
}

int blocks_take(struct blocks *b, uint64_t want, uint64_t *ret_start, uint64_t *ret_n, struct runner_error *err)
{
    uint64_t n = room(b);

    if (n > want)
        n = want;
    if (b->next + n > BLOCKS_MAX)
        return fail(err, RUNNER_E_NOSPACE, 0, "the disk would be larger than 1 TiB");
    mark(b, b->next, n, true);
    *ret_start = b->next;
    *ret_n = n;
    b->next += n;
    return 0;
}

int blocks_take_together(struct blocks *b, uint64_t n, uint64_t *ret_start, struct runner_error *err)
{
    uint64_t n_got;

    for (uint64_t together = room(b); together < n; together = room(b))
        b->next += together;
    return blocks_take(b, n, ret_start, &n_got, err);
}

void blocks_give_back(struct blocks *b, uint64_t start, uint64_t n)
{
    mark(b, start, n, false);
}

uint64_t blocks_run(const struct blocks *b, uint64_t from, uint64_t *ret_start)
{
    uint64_t end;

    while (from < b->next && (from % 8 == 0 && b->used[from / 8] == 0 ? true : !is_used(b, from)))
        from += from % 8 == 0 && b->used[from / 8] == 0 ? 8 : 1;
    for (end = from; end < b->next && is_used(b, end);)
        end += end % 8 == 0 && b->used[end / 8] == 0xff && end + 8 <= b->next ? 8 : 1;
    *ret_start = from;
    return end > from ? end - from : 0;
}

static int put(struct blocks *b, uint64_t position, const uint8_t *data, size_t len, struct runner_error *err)
{
    while (len > 0) {
        ssize_t n = pwrite(b->fd, data, len, position);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "write to the disk");
        data += n, len -= n, position += n;
    }
    if (position >= b->started + START_STEP) {
        (void)sync_file_range(b->fd, b->started, position - b->started, SYNC_FILE_RANGE_WRITE);
        b->started = position;
    }
    return 0;
}

int blocks_flush(struct blocks *b, struct runner_error *err)
{
    if (b->fill > 0 && put(b, b->position, b->buffer, b->fill, err) < 0)
        return -1;
    b->fill = 0;
    return 0;
}

/* The buffer can take bytes at the position: directly behind, or in the next block, zeros between. */
static bool is_near(const struct blocks *b, uint64_t position)
{
    uint64_t end = b->position + b->fill;

    return b->fill > 0 && position >= end && position - end < BLOCK_SIZE && position - b->position < BUFFER_SIZE;
}

int blocks_write(struct blocks *b, uint64_t position, const void *data, size_t len, struct runner_error *err)
{
    const uint8_t *from = data;

    while (len > 0) {
        size_t n, gap;

        if (!is_near(b, position)) {
            if (blocks_flush(b, err) < 0)
                return -1;
            b->position = position;
            if (len >= BUFFER_SIZE / 8)
                return put(b, position, from, len, err);
        }
        gap = position - (b->position + b->fill);
        memset(b->buffer + b->fill, 0, gap);
        b->fill += gap;
        n = BUFFER_SIZE - b->fill < len ? BUFFER_SIZE - b->fill : len;
        memcpy(b->buffer + b->fill, from, n);
        b->fill += n;
        from += n, len -= n, position += n;
        if (b->fill == BUFFER_SIZE && blocks_flush(b, err) < 0)
            return -1;
    }
    return 0;
}

int blocks_read(struct blocks *b, uint64_t position, void *data, size_t len, struct runner_error *err)
{
    uint8_t *to = data;

    if (blocks_flush(b, err) < 0)
        return -1;
    while (len > 0) {
        ssize_t n = pread(b->fd, to, len, position);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "read from the disk");
        if (n == 0) { /* behind what was written */
            memset(to, 0, len);
            return 0;
        }
        to += n, len -= n, position += n;
    }
    return 0;
}

int blocks_punch(struct blocks *b, struct runner_error *err)
{
    uint64_t at = 0, start, n;

    if (blocks_flush(b, err) < 0)
        return -1;
    do {
        n = blocks_run(b, at, &start);
        if (start > at &&
            fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at * BLOCK_SIZE, (start - at) * BLOCK_SIZE) <
                0 &&
            errno != EOPNOTSUPP)
            return fail_errno(err, errno, "make holes in the disk");
        at = start + n;
    } while (n > 0);
    return 0;
}
