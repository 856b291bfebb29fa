/* JSON, read by yajl, whole or as a stream of elements. */
#include <stdio.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "core/util/json.h"
#include "core/util/utf8.h"

/* ---- one value ---- */

struct reader {
    struct json *root;
    struct json *stack[JSON_DEPTH_MAX];
    int depth;
    int nodes;
    char *key;
    char problem[160];
    struct json_stream *stream; /* NULL: the whole is kept */
};

struct json_stream {
    struct reader reader;
    yajl_handle yajl;
    int (*item)(void *ctx, const struct json *item, struct runner_error *err);
    void *ctx;
    size_t item_len;         /* bytes that came since the last element was whole */
    struct runner_error err; /* once it failed */
};

static int refuse(struct reader *r, const char *problem, const char *what)
{
    (void)snprintf(r->problem, sizeof r->problem, "%s%.100s", problem, what);
    return 0;
}

static struct json *node_add(struct reader *r, enum json_type type)
{
    struct json *parent = r->depth > 0 ? r->stack[r->depth - 1] : NULL;
    struct json *j;

    if (++r->nodes > JSON_NODES_MAX) {
        refuse(r, "too many values", "");
        return NULL;
    }
    j = mem_alloc(sizeof *j);
    j->type = type;
    j->key = r->key;
    r->key = NULL;
    if (parent == NULL) {
        r->root = j;
    } else {
        json_append(parent, j);
    }
    return j;
}

/* A value is whole: an element of a stream is handed over. */
static int settle(struct reader *r)
{
    struct json_stream *stream = r->stream;
    struct json *item;
    int status;

    if (stream == NULL || r->depth > 1 || r->root->type != JSON_ARRAY || (item = r->root->first) == NULL)
        return 1;
    r->root->first = r->root->last = NULL;
    r->nodes = 1;
    stream->item_len = 0;
    status = stream->item(stream->ctx, item, &stream->err);
    json_free(item);
    return status == 0;
}

static int on_null(void *ctx)
{
    return node_add(ctx, JSON_NULL) != NULL && settle(ctx);
}

static int on_bool(void *ctx, int value)
{
    struct json *j = node_add(ctx, JSON_BOOL);

    if (j != NULL)
        j->number = value;
    return j != NULL && settle(ctx);
}

static int on_int(void *ctx, long long value)
{
    struct json *j = node_add(ctx, JSON_INT);

    if (j != NULL) {
        j->number = value;
        j->real = (double)value;
    }
    return j != NULL && settle(ctx);
}

static int on_double(void *ctx, double value)
{
    struct json *j = node_add(ctx, JSON_DOUBLE);

    if (j != NULL)
        j->real = value;
    return j != NULL && settle(ctx);
}

/* yajl lets long forms and surrogates pass as UTF-8, which would come out as another text when it is written again. */
static int check_text(struct reader *r, const char *what, const unsigned char *text, size_t len)
{
    if (memchr(text, '\0', len) != NULL)
        return refuse(r, what, " holds a NUL byte");
    return utf8_is((const char *)text, len) || refuse(r, what, " is not UTF-8");
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
    struct json *j;

    if (!check_text(ctx, "a string", text, len))
        return 0;
    j = node_add(ctx, JSON_STRING);
    if (j != NULL)
        j->text = mem_dup_n((const char *)text, len);
    return j != NULL && settle(ctx);
}

static int on_open(struct reader *r, enum json_type type)
{
    struct json *j;

    if (r->depth == JSON_DEPTH_MAX)
        return refuse(r, "nested deeper than 32 levels", "");
    j = node_add(r, type);
    if (j == NULL)
        return 0;
    r->stack[r->depth++] = j;
    return 1;
}

static int on_map(void *ctx)
{
    return on_open(ctx, JSON_OBJECT);
}

static int on_array(void *ctx)
{
    return on_open(ctx, JSON_ARRAY);
}

static int on_close(void *ctx)
{
    struct reader *r = ctx;

    r->depth--;
    return settle(r);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted once per object, so that a body of many keys costs n log n. */
static int on_map_end(void *ctx)
{
    struct reader *r = ctx;
    const struct json *object = r->stack[r->depth - 1];
    auto_free const char **keys = NULL;
    size_t n = 0;

    for (const struct json *j = object->first; j != NULL; j = j->next)
        n++;
    keys = mem_array(n, sizeof *keys);
    n = 0;
    for (const struct json *j = object->first; j != NULL; j = j->next)
        keys[n++] = j->key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            return refuse(r, "repeated key ", keys[i]);
    return on_close(ctx);
}

static int on_key(void *ctx, const unsigned char *text, size_t len)
{
    struct reader *r = ctx;

    if (!check_text(r, "a key", text, len))
        return 0;
    free(r->key);
    r->key = mem_dup_n((const char *)text, len);
    return 1;
}

static const yajl_callbacks callbacks = {.yajl_null = on_null,
                                         .yajl_boolean = on_bool,
                                         .yajl_integer = on_int,
                                         .yajl_double = on_double,
                                         .yajl_string = on_string,
                                         .yajl_start_map = on_map,
                                         .yajl_map_key = on_key,
                                         .yajl_end_map = on_map_end,
                                         .yajl_start_array = on_array,
                                         .yajl_end_array = on_close};

/* yajl does not look at what it gets: memory that is not there ends the program here, as everywhere, and not at address 0. */
static void *on_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return mem_grow(NULL, 1, size);
}

static void *on_realloc(void *ctx, void *old, size_t size)
{
    (void)ctx;
    return mem_grow(old, 1, size);
}

static void on_free(void *ctx, void *old)
{
    (void)ctx;
    free(old);
}

static int describe(yajl_handle yajl, const struct reader *r, const char *text, size_t len, struct runner_error *err)
{
    size_t at = yajl_get_bytes_consumed(yajl);
    unsigned char *message;

    if (r->problem[0] != '\0')
        return fail(err, RUNNER_E_INVALID, 0, "JSON at byte %zu: %s", at, r->problem);
    message = yajl_get_error(yajl, 0, (const unsigned char *)text, len);
    (void)fail(err, RUNNER_E_INVALID, 0, "JSON at byte %zu: %s", at, (const char *)message);
    yajl_free_error(yajl, message);
    return -1;
}

static yajl_alloc_funcs memory = {.malloc = on_alloc, .realloc = on_realloc, .free = on_free};

int json_parse(const char *text, size_t len, struct json **ret, struct runner_error *err)
{
    struct reader r = {.root = NULL};
    yajl_handle yajl = yajl_alloc(&callbacks, &memory, &r);
    int status = 0;

    if (yajl == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "JSON parser");
    if (yajl_parse(yajl, (const unsigned char *)text, len) != yajl_status_ok ||
        yajl_complete_parse(yajl) != yajl_status_ok)
        status = describe(yajl, &r, text, len, err);
    else if (r.root == NULL)
        status = fail(err, RUNNER_E_INVALID, 0, "JSON: empty text");
    yajl_free(yajl);
    free(r.key);
    if (status == 0)
        *ret = r.root;
    else
        json_free(r.root);
    return status;
}

/* ---- streams ---- */

struct json_stream *json_stream_new(int (*item)(void *ctx, const struct json *item, struct runner_error *err), void *ctx)
{
    struct json_stream *stream = mem_alloc(sizeof *stream);

    stream->reader.stream = stream;
    stream->err.size = sizeof stream->err;
    stream->item = item;
    stream->ctx = ctx;
    stream->yajl = yajl_alloc(&callbacks, &memory, &stream->reader);
    if (stream->yajl == NULL)
        mem_die();
    return stream;
}

/* Keeps what went wrong first. */
static int spoil(struct json_stream *stream, const char *text, size_t len, struct runner_error *err)
{
    if (stream->err.code == 0)
        (void)describe(stream->yajl, &stream->reader, text, len, &stream->err);
    return fail(err, stream->err.code, 0, "%s", stream->err.message);
}

int json_stream_feed(struct json_stream *stream, const char *text, size_t len, struct runner_error *err)
{
    if (stream->err.code != 0)
        return spoil(stream, text, len, err);
    stream->item_len += len;
    if (yajl_parse(stream->yajl, (const unsigned char *)text, len) != yajl_status_ok)
        return spoil(stream, text, len, err);
    if (stream->item_len > JSON_ITEM_MAX) {
        (void)fail(&stream->err, RUNNER_E_INVALID, 0, "JSON: an element is longer than %d bytes", JSON_ITEM_MAX);
        return spoil(stream, text, len, err);
    }
    return 0;
}

int json_stream_end(struct json_stream *stream, struct runner_error *err)
{
    if (stream->err.code != 0 || yajl_complete_parse(stream->yajl) != yajl_status_ok)
        return spoil(stream, "", 0, err);
    if (stream->reader.root == NULL || stream->reader.root->type != JSON_ARRAY) {
        (void)fail(&stream->err, RUNNER_E_INVALID, 0, "JSON: expected an array, found %s",
                   stream->reader.root != NULL ? json_type_name(stream->reader.root->type) : "nothing");
        return spoil(stream, "", 0, err);
    }
    return 0;
}

void json_stream_free(struct json_stream *stream)
{
    if (stream == NULL)
        return;
    yajl_free(stream->yajl);
    free(stream->reader.key);
    json_free(stream->reader.root);
    free(stream);
}
