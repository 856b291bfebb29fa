/* Chains of causes, and trees that change. */
#include <stdarg.h>
#include <string.h>

#include "t/fake/fake-ch.h"

static void add(struct str *json, const char *text)
{
    auto_str struct str quoted = STR_INIT;

    json_open(&quoted, NULL, '[');
    json_add_text(&quoted, NULL, text);
    str_add(json, json->len > 0 ? "," : "");
    str_add(json, quoted.ptr + 1);
}

static void add_all(struct str *json, const char *text, va_list more)
{
    for (; text != NULL; text = va_arg(more, const char *))
        add(json, text);
}

int reply_fail(struct reply *r, int status, const char *first, ...)
{
    auto_str struct str json = STR_INIT;
    va_list more;

    va_start(more, first);
    add_all(&json, first, more);
    va_end(more);
    str_clear(&r->body);
    str_addf(&r->body, "[%s]", str_text(&json));
    r->status = status;
    r->has_body = true;
    return -1;
}

int cause_set(struct cause *c, const char *text, ...)
{
    va_list more;

    str_clear(&c->json);
    va_start(more, text);
    add_all(&c->json, text, more);
    va_end(more);
    c->status = 500;
    return -1;
}

int cause_errno(struct cause *c, int number, const char *text, ...)
{
    auto_free char *last = mem_printf("%s (os error %d)", strerror(number), number);
    va_list more;

    str_clear(&c->json);
    va_start(more, text);
    add_all(&c->json, text, more);
    va_end(more);
    add(&c->json, last);
    c->status = 500;
    return -1;
}

int cause_setf(struct cause *c, const char *before, const char *format, ...)
{
    auto_str struct str text = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&text, format, args);
    va_end(args);
    return before != NULL ? cause_set(c, before, str_text(&text), NULL) : cause_set(c, str_text(&text), NULL);
}

void cause_wrap(struct cause *c, const char *text, ...)
{
    auto_free char *inner = str_steal(&c->json);
    va_list more;

    va_start(more, text);
    add_all(&c->json, text, more);
    va_end(more);
    str_addf(&c->json, ",%s", inner);
}

/* ---- trees ------------------------------------------------------------------------------------------------------- */

struct json *tree_member(struct json *object, const char *key)
{
    for (struct json *child = object != NULL ? object->first : NULL; child != NULL; child = child->next)
        if (child->key != NULL && strcmp(child->key, key) == 0)
            return child->type == JSON_NULL ? NULL : child;
    return NULL;
}

static struct json *member_new(struct json *object, const char *key, enum json_type type)
{
    struct json *j = mem_alloc(sizeof *j);

    json_free(json_take(object, key));
    j->type = type;
    j->key = mem_dup(key);
    json_append(object, j);
    return j;
}

void tree_set_text(struct json *object, const char *key, const char *text)
{
    auto_free char *copy = mem_dup(text); /* may be what is replaced */

    if (copy == NULL) {
        json_free(json_take(object, key));
        return;
    }
    member_new(object, key, JSON_STRING)->text = mem_dup(copy);
}

void tree_set_int(struct json *object, const char *key, int64_t value)
{
    struct json *j = member_new(object, key, JSON_INT);

    j->number = value;
    j->real = (double)value;
}

void tree_append(struct json *object, const char *key, struct json *item)
{
    struct json *list = tree_member(object, key);

    json_append(list != NULL ? list : member_new(object, key, JSON_ARRAY), item);
}
