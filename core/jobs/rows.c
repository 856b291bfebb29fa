#include "core/jobs/rows.h"

#include <stdio.h>
#include <string.h>

#include "core/util/json.h"

struct rows {
    struct json_stream *stream;
    struct row *list;
    size_t n, cap;
};

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

/* An id that is longer than any of ours is none of ours. */
static int on_item(void *ctx, const struct json *item, struct runner_error *err)
{
    struct rows *rows = ctx;
    const char *id = json_text(item, "id", ""), *state = json_text(item, "state", "");
    struct row *row;

    if (id[0] == '\0' || state[0] == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "a sandbox has no id or no state");
    if (rows->n == ROWS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d sandboxes", ROWS_MAX);
    if (rows->n == rows->cap) {
        rows->cap = rows->cap > 0 ? 2 * rows->cap : 64;
        rows->list = mem_grow(rows->list, rows->cap, sizeof *rows->list);
    }
    if (strlen(id) >= sizeof row->id)
        return 0;
    row = &rows->list[rows->n++];
    (void)snprintf(row->id, sizeof row->id, "%s", id);
    (void)snprintf(row->state, sizeof row->state, "%.23s", state);
    row->is_unwanted = strcmp(json_text(item, "desiredState", ""), "destroyed") == 0;
    return 0;
}

struct rows *rows_new(void)
{
    struct rows *rows = mem_alloc(sizeof *rows);

    rows->stream = json_stream_new(on_item, rows);
    return rows;
}

void rows_free(struct rows *rows)
{
    if (rows == NULL)
        return;
    json_stream_free(rows->stream);
    free(rows->list);
    free(rows);
}

void rows_feed(struct rows *rows, const char *text, size_t len)
{
    struct runner_error ignored = ERROR_INIT;

    (void)json_stream_feed(rows->stream, text, len, &ignored);
}

int rows_end(struct rows *rows, struct runner_error *err)
{
    if (json_stream_end(rows->stream, err) < 0)
        return -1;
    if (rows->n > 0)
        qsort(rows->list, rows->n, sizeof *rows->list, by_id);
    return 0;
}

const struct row *rows_find(const struct rows *rows, const char *id)
{
    struct row key;

    if (rows->n == 0 || strlen(id) >= sizeof key.id)
        return NULL;
    (void)snprintf(key.id, sizeof key.id, "%s", id);
    return bsearch(&key, rows->list, rows->n, sizeof *rows->list, by_id);
}
