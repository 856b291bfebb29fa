/* JSON into a tree and back: what was read is written so that it reads the same. */
#include <string.h>

#include "core/util/json.h"
#include "t/fuzz/fuzz.h"

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Numbers with a fraction are written shorter than they are. */
static void need_same(const struct json *a, const struct json *b)
{
    for (; a != NULL && b != NULL; a = a->next, b = b->next) {
        need(is_same_text(a->key, b->key) && is_same_text(a->text, b->text));
        need(a->type == JSON_DOUBLE || (a->type == b->type && a->number == b->number));
        need_same(a->first, b->first);
    }
    need(a == b);
}

static int on_item(void *ctx, const struct json *item, struct runner_error *err)
{
    const struct json **next = ctx;

    (void)err;
    need(*next != NULL);
    need(item->next == NULL && item->type == (*next)->type);
    need_same(item->first, (*next)->first);
    *next = (*next)->next;
    return 0;
}

/* As a stream, in parts, an array is the same; all else is none. */
static void need_same_stream(const uint8_t *data, size_t size, const struct json *tree)
{
    const struct json *next = tree->type == JSON_ARRAY ? tree->first : NULL;
    struct json_stream *stream = json_stream_new(on_item, &next);
    struct runner_error err = ERROR_INIT;
    size_t part = size % 7 + 1;
    int status = 0;

    for (size_t at = 0; at < size && status == 0; at += part)
        status = json_stream_feed(stream, (const char *)data + at, size - at < part ? size - at : part, &err);
    if (status == 0)
        status = json_stream_end(stream, &err);
    json_stream_free(stream);
    need((status == 0) == (tree->type == JSON_ARRAY));
    need(status < 0 || next == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_json struct json *tree = NULL, *again = NULL;
    auto_str struct str text = STR_INIT, text_again = STR_INIT;

    if (json_parse((const char *)data, size, &tree, &err) < 0) {
        need_reason(&err);
        return 0;
    }
    need_same_stream(data, size, tree);
    json_add_tree(&text, NULL, tree);
    need(json_parse(str_text(&text), text.len, &again, &err) == 0);
    need_same(tree, again);
    json_add_tree(&text_again, NULL, again);
    need(strcmp(str_text(&text), str_text(&text_again)) == 0);
    return 0;
}
