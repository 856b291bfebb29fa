/* JSON in memory. */
#include "core/util/json.h"

#include <string.h>

void json_append(struct json *parent, struct json *child)
{
    child->next = NULL;
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

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
        json_append(copy, member);
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
