#include "core/yaml.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* ---- the tree ---- */

struct yaml *yaml_new(enum yaml_type type, const struct place *at, const char *text)
{
    struct yaml *node = mem_alloc(sizeof *node);

    node->type = type;
    node->at = node->key_at = *at;
    node->text = mem_dup(text);
    return node;
}

static void text_wipe(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void yaml_free(struct yaml *node)
{
    struct yaml *child, *next;

    if (node == NULL)
        return;
    for (child = node->first; child != NULL; child = next) {
        next = child->next;
        yaml_free(child);
    }
    text_wipe(node->text);
    free(node->key);
    free(node);
}

static struct yaml *member(const struct yaml *node, const char *key)
{
    if (node == NULL || node->type != YAML_MAP)
        return NULL;
    for (struct yaml *child = node->first; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

struct yaml *yaml_get(const struct yaml *node, const char *key)
{
    struct yaml *child = member(node, key);

    return child != NULL && child->type != YAML_NULL ? child : NULL;
}

static void unlink_child(struct yaml *parent, struct yaml *child)
{
    struct yaml **link = &parent->first, *before = NULL;

    while (*link != child) {
        before = *link;
        link = &(*link)->next;
    }
    *link = child->next;
    if (parent->last == child)
        parent->last = before;
}

void yaml_remove(struct yaml *parent, const char *key)
{
    struct yaml *old = member(parent, key);

    if (old != NULL) {
        unlink_child(parent, old);
        yaml_free(old);
    }
}

static void append(struct yaml *parent, struct yaml *child)
{
    child->parent = parent;
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

void yaml_put(struct yaml *parent, const char *key, struct yaml *child)
{
    if (key != NULL) {
        yaml_remove(parent, key);
        child->key = mem_dup(key);
    }
    append(parent, child);
}

static void path_add(const struct yaml *node, struct str *out)
{
    size_t index = 0;

    if (node->parent == NULL)
        return;
    path_add(node->parent, out);
    if (node->parent->type == YAML_MAP) {
        if (out->len > 0)
            str_add_char(out, '.');
        str_add(out, node->key);
        return;
    }
    for (const struct yaml *other = node->parent->first; other != node; other = other->next)
        index++;
    str_addf(out, "[%zu]", index);
}

char *yaml_path(const struct yaml *node, const char *key)
{
    auto_str struct str path = STR_INIT;

    if (node != NULL)
        path_add(node, &path);
    if (key != NULL && path.len > 0)
        str_add_char(&path, '.');
    if (key != NULL)
        str_add(&path, key);
    return str_steal(&path);
}

const char *yaml_found(const struct yaml *node, char *buffer, size_t size)
{
    static const char *const words[] = {[YAML_NULL] = "nothing", [YAML_LIST] = "a list", [YAML_MAP] = "a mapping"};
    enum yaml_type type = node != NULL ? node->type : YAML_NULL;

    if (type != YAML_TEXT)
        (void)snprintf(buffer, size, "%s", words[type]);
    else if (strlen(node->text) > 60)
        (void)snprintf(buffer, size, "'%.57s...'", node->text);
    else
        (void)snprintf(buffer, size, "'%s'", node->text);
    return buffer;
}

/* ---- reading ---- */

struct reader {
    yaml_parser_t parser;
    const char *source;
    struct report *report;
    struct yaml *root, *open; /* open: the list or map whose children come now */
    char *key;                /* of the value that comes next, in a map */
    struct place key_at;
    size_t nodes, depth;
};

static struct place place_of(const struct reader *r, yaml_mark_t mark)
{
    return (struct place){r->source, (int)mark.line + 1, (int)mark.column + 1};
}

/* Where the reader is: the path of the value that comes next. */
static char *current_path(const struct reader *r)
{
    return r->open != NULL ? yaml_path(r->open, r->key) : mem_dup("");
}

static int refuse(struct reader *r, const struct place *at, const char *message)
{
    auto_free char *path = current_path(r);

    report_add(r->report, at, path, "%s", message);
    return -1;
}

static int refuse_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    struct place at = place_of(r, p->problem_mark);

    if (p->error == YAML_READER_ERROR) /* no mark, only an offset */
        report_add(r->report, &(struct place){r->source, 0, 0}, "", "expected UTF-8 text, found: %s at byte %zu",
                   p->problem, p->problem_offset);
    else
        report_add(r->report, &at, "", "not YAML: %s%s%s", p->context != NULL ? p->context : "",
                   p->context != NULL ? ", " : "", p->problem != NULL ? p->problem : "unknown fault");
    return -1;
}

static void key_take(struct reader *r, const yaml_event_t *event, const struct place *at)
{
    r->key = mem_dup((const char *)event->data.scalar.value);
    r->key_at = *at;
    if (member(r->open, r->key) != NULL) {
        auto_free char *path = current_path(r);
        const struct yaml *first = member(r->open, r->key);
        report_add(r->report, at, path, "expected each key once, found '%s' again (first in line %d)", r->key,
                   first->key_at.line);
    }
}

/* Hangs a value into the open list or map. */
static void value_put(struct reader *r, struct yaml *node)
{
    if (r->open == NULL) {
        r->root = node;
        return;
    }
    if (r->open->type == YAML_MAP) {
        node->key = r->key;
        node->key_at = r->key_at;
        r->key = NULL;
    }
    append(r->open, node);
}

static int on_scalar(struct reader *r, const yaml_event_t *event, const struct place *at)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool is_null = is_plain && (len == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);

    if (memchr(text, '\0', len) != NULL)
        return refuse(r, at, "expected text without NUL bytes, found one");
    if (len > YAML_TEXT_MAX)
        return refuse(r, at, "expected at most 16384 bytes of text, found more");
    if (r->open != NULL && r->open->type == YAML_MAP && r->key == NULL) {
        if (is_null)
            return refuse(r, at, "expected a key, found nothing");
        key_take(r, event, at);
        return 0;
    }
    value_put(r, yaml_new(is_null ? YAML_NULL : YAML_TEXT, at, is_null ? NULL : text));
    return 0;
}

static int on_open(struct reader *r, enum yaml_type type, const struct place *at)
{
    struct yaml *node;

    if (r->open != NULL && r->open->type == YAML_MAP && r->key == NULL)
        return refuse(r, at, "expected a key that is text, found a list or mapping");
    if (++r->depth > YAML_DEPTH_MAX)
        return refuse(r, at, "expected at most 16 levels, found more");
    node = yaml_new(type, at, NULL);
    value_put(r, node);
    r->open = node;
    return 0;
}

/* A repeated key's value was read like any other; now that it is complete it goes away. */
static void drop_repeated(struct reader *r)
{
    struct yaml *node = r->open != NULL && r->open->type == YAML_MAP ? r->open->last : NULL;

    if (node == NULL || r->key != NULL || member(r->open, node->key) == node)
        return;
    unlink_child(r->open, node);
    yaml_free(node);
}

static void on_close(struct reader *r)
{
    r->depth--;
    r->open = r->open->parent;
}

static bool has_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.tag != NULL;
    default:
        return false;
    }
}

static int on_value(struct reader *r, const yaml_event_t *event)
{
    struct place at = place_of(r, event->start_mark);

    if (event->type == YAML_ALIAS_EVENT)
        return refuse(r, &at, "expected a value, found an alias (*name), which is not supported");
    if (has_tag(event))
        return refuse(r, &at, "expected a plain value, found a tag (!name), which is not supported");
    if (++r->nodes > YAML_NODES_MAX)
        return refuse(r, &at, "expected at most 10000 keys and values, found more");
    if (event->type == YAML_SCALAR_EVENT)
        return on_scalar(r, event, &at);
    return on_open(r, event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST, &at);
}

static int on_event(struct reader *r, const yaml_event_t *event, int *documents)
{
    struct place at = place_of(r, event->start_mark);
    int result;

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return ++*documents > 1 ? refuse(r, &at, "expected one document, found another (---)") : 0;
    case YAML_SCALAR_EVENT:
    case YAML_ALIAS_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        result = on_value(r, event);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_close(r);
        result = 0;
        break;
    default:
        return 0;
    }
    if (result == 0)
        drop_repeated(r);
    return result;
}

static int read_events(struct reader *r)
{
    yaml_event_t event;
    int documents = 0, result = 0;
    bool is_end = false;

    while (result == 0 && !is_end) {
        if (!yaml_parser_parse(&r->parser, &event))
            return refuse_syntax(r);
        is_end = event.type == YAML_STREAM_END_EVENT;
        result = on_event(r, &event, &documents);
        yaml_event_delete(&event);
    }
    return result;
}

int yaml_parse(const char *source, const char *text, size_t len, struct yaml **ret, struct report *report)
{
    struct reader r = {.source = source, .report = report};
    int result;

    if (!yaml_parser_initialize(&r.parser)) {
        report_add(report, &(struct place){source, 0, 0}, "", "out of memory");
        return -1;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    result = read_events(&r);
    yaml_parser_delete(&r.parser);
    free(r.key);
    if (result < 0) {
        yaml_free(r.root);
        return -1;
    }
    if (r.root != NULL && r.root->type == YAML_NULL) {
        yaml_free(r.root);
        r.root = NULL;
    }
    *ret = r.root;
    return 0;
}
