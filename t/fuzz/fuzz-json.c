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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_json struct json *tree = NULL, *again = NULL;
    auto_str struct str text = STR_INIT, text_again = STR_INIT;

    if (json_parse((const char *)data, size, &tree, &err) < 0) {
        need_reason(&err);
        return 0;
    }
    json_add_tree(&text, NULL, tree);
    need(json_parse(str_text(&text), text.len, &again, &err) == 0);
    need_same(tree, again);
    json_add_tree(&text_again, NULL, again);
    need(strcmp(str_text(&text), str_text(&text_again)) == 0);
    return 0;
}
