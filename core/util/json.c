#include "core/util/json.h"

#include <stdio.h>
#include <string.h>

#include <yajl/yajl_parse.h>

/* ---- UTF-8 ---- */

/* Length of the valid UTF-8 sequence at p, 0 when it is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    static const unsigned char least[] = {0, 0, 0xc2, 0xe0, 0xf0};
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > left || (n > 1 && p[0] < least[n]))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static bool is_utf8(const unsigned char *p, size_t left)
{
    while (left > 0) {
        size_t n = utf8_len(p, left);

        if (n == 0)
            return false;
        p += n;
        left -= n;
    }
    return true;
}

/* ---- reading ---- */

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

static void append(struct json *parent, struct json *child)
{
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
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
        append(parent, j);
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
    return is_utf8(text, len) || refuse(r, what, " is not UTF-8");
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

/* ---- trees ---- */

void json_free(struct json *j)
{
    while (j != NULL) { /* children are spliced before the sibling: no recursion */
        struct json *next = j->next;
        if (j->first != NULL) {
            j->last->next = next;
            next = j->first;
        }
        free(j->key);
        free(j->text);
        free(j);
        j = next;
    }
}

const struct json *json_get(const struct json *j, const char *key)
{
    if (j == NULL || j->type != JSON_OBJECT)
        return NULL;
    for (const struct json *child = j->first; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

const char *json_text(const struct json *j, const char *key, const char *dflt)
{
    const struct json *member = json_get(j, key);

    return member != NULL && member->type == JSON_STRING ? member->text : dflt;
}

int64_t json_int(const struct json *j, const char *key, int64_t dflt)
{
    const struct json *member = json_get(j, key);

    return member != NULL && member->type == JSON_INT ? member->number : dflt;
}

bool json_bool(const struct json *j, const char *key, bool dflt)
{
    const struct json *member = json_get(j, key);

    return member != NULL && member->type == JSON_BOOL ? member->number != 0 : dflt;
}

struct json *json_copy(const struct json *j)
{
    struct json *copy = mem_alloc(sizeof *copy);

    copy->type = j->type;
    copy->number = j->number;
    copy->real = j->real;
    copy->text = mem_dup(j->text);
    for (const struct json *child = j->first; child != NULL; child = child->next) {
        struct json *member = json_copy(child);
        member->key = mem_dup(child->key);
        append(copy, member);
    }
    return copy;
}

struct json *json_take(struct json *object, const char *key)
{
    struct json **link = &object->first, *before = NULL, *found;

    while (*link != NULL && strcmp((*link)->key, key) != 0) {
        before = *link;
        link = &(*link)->next;
    }
    found = *link;
    if (found == NULL)
        return NULL;
    *link = found->next;
    if (object->last == found)
        object->last = before;
    found->next = NULL;
    return found;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {"null",     "a boolean", "an integer", "a number",
                                        "a string", "an array",  "an object"};

    return names[type];
}

/* ---- writing ---- */

/* How much of it stands in JSON as it is, up to what has to be looked at. */
static size_t plain_len(const unsigned char *p, size_t left)
{
    size_t n = 0;

    while (n < left && p[n] >= 0x20 && p[n] < 0x7f && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

static void add_quoted(struct str *s, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = strlen(text);

    str_add_char(s, '"');
    while (left > 0) {
        size_t plain = plain_len(p, left), n = plain > 0 ? plain : utf8_len(p, left);

        if (n == 0) {
            str_add(s, "\xef\xbf\xbd");
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            str_addf(s, "\\%c", *p);
        } else if (*p == '\n') {
            str_add(s, "\\n");
        } else if (*p < 0x20 || *p == 0x7f) {
            str_addf(s, "\\u%04x", *p);
        } else {
            str_add_mem(s, p, n);
        }
        p += n;
        left -= n;
    }
    str_add_char(s, '"');
}

static void begin(struct str *s, const char *key)
{
    char before = s->len > 0 ? s->ptr[s->len - 1] : '{';

    if (before != '{' && before != '[')
        str_add_char(s, ',');
    if (key != NULL) {
        add_quoted(s, key);
        str_add_char(s, ':');
    }
}

void json_open(struct str *s, const char *key, char bracket)
{
    begin(s, key);
    str_add_char(s, bracket);
}

void json_close(struct str *s, char bracket)
{
    str_add_char(s, bracket);
}

void json_add_text(struct str *s, const char *key, const char *text)
{
    begin(s, key);
    if (text == NULL)
        str_add(s, "null");
    else
        add_quoted(s, text);
}

void json_add_int(struct str *s, const char *key, int64_t value)
{
    begin(s, key);
    str_addf(s, "%lld", (long long)value);
}

void json_add_real(struct str *s, const char *key, double value)
{
    begin(s, key);
    if (value != value || value > 1e300 || value < -1e300)
        str_add(s, "null");
    else if (value > -1e9 && value < 1e9 && value == (double)(int)value) /* most are whole, and read alike */
        str_addf(s, "%d", (int)value);
    else
        str_addf(s, "%.10g", value + 0.0); /* a zero without a sign, which whoever reads it would lose */
}

void json_add_bool(struct str *s, const char *key, bool value)
{
    begin(s, key);
    str_add(s, value ? "true" : "false");
}

void json_add_null(struct str *s, const char *key)
{
    begin(s, key);
    str_add(s, "null");
}

void json_add_tree(struct str *s, const char *key, const struct json *j)
{
    switch (j->type) {
    case JSON_NULL:
        json_add_null(s, key);
        break;
    case JSON_BOOL:
        json_add_bool(s, key, j->number != 0);
        break;
    case JSON_INT:
        json_add_int(s, key, j->number);
        break;
    case JSON_DOUBLE:
        json_add_real(s, key, j->real);
        break;
    case JSON_STRING:
        json_add_text(s, key, j->text);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        json_open(s, key, j->type == JSON_ARRAY ? '[' : '{');
        for (const struct json *child = j->first; child != NULL; child = child->next)
            json_add_tree(s, child->key, child);
        json_close(s, j->type == JSON_ARRAY ? ']' : '}');
        break;
    }
}
