/* Bodies held against their tables, with the errors of the real program's deserializer and the place they happen at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/fake/fake-ch-schema.h"
#include "t/fake/fake-ch.h"

struct reader {
    const char *body;
    size_t len;
    const struct json *root;
    struct str *error;
};

/* ---- places ------------------------------------------------------------------------------------------------------ */

struct place {
    const struct json *wanted;
    const char *p, *start, *end; /* start, end: of the wanted one once it was passed */
};

static void skip_blanks(struct place *at)
{
    at->p += strspn(at->p, " \t\r\n");
}

static void skip_string(struct place *at)
{
    for (at->p++; *at->p != '"'; at->p++)
        at->p += *at->p == '\\';
    at->p++;
}

/* Over the text of a value that is known to be good. */
static void walk(struct place *at, const struct json *j)
{
    const char *start;

    skip_blanks(at);
    start = at->p;
    if (j->type == JSON_OBJECT || j->type == JSON_ARRAY) {
        at->p++;
        for (const struct json *child = j->first; child != NULL; child = child->next) {
            skip_blanks(at);
            if (j->type == JSON_OBJECT) {
                skip_string(at);
                skip_blanks(at);
                at->p++; /* : */
            }
            walk(at, child);
            skip_blanks(at);
            at->p += *at->p == ',';
        }
        skip_blanks(at);
        at->p++;
    } else if (j->type == JSON_STRING) {
        skip_string(at);
    } else {
        at->p += strcspn(at->p, ",]} \t\r\n");
    }
    if (j == at->wanted) {
        at->start = start;
        at->end = at->p;
    }
}

static void add_place(const struct reader *r, const char *where)
{
    size_t line = 1, column = 0;

    for (const char *p = r->body; p < where; p++, column++)
        if (*p == '\n') {
            line++;
            column = (size_t)-1;
        }
    str_addf(r->error, " at line %zu column %zu", line, column);
}

/* -1, the place being the end of j, or its beginning when it is an array or object that was not entered. */
static int fail_at(const struct reader *r, const struct json *j, bool is_entered)
{
    struct place at = {.wanted = j, .p = r->body};

    walk(&at, r->root);
    add_place(r, (j->type == JSON_ARRAY || j->type == JSON_OBJECT) && !is_entered ? at.start : at.end);
    return -1;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static void add_found(struct str *out, const struct json *j)
{
    static const char *const names[] = {[JSON_NULL] = "null", [JSON_ARRAY] = "sequence", [JSON_OBJECT] = "map"};

    if (j->type == JSON_BOOL)
        str_addf(out, "boolean `%s`", j->number != 0 ? "true" : "false");
    else if (j->type == JSON_INT)
        str_addf(out, "integer `%lld`", (long long)j->number);
    else if (j->type == JSON_DOUBLE)
        str_addf(out, "floating point `%g`", j->real);
    else if (j->type == JSON_STRING)
        str_addf(out, "string \"%s\"", j->text);
    else
        str_add(out, names[j->type]);
}

static const char *expected(const struct member *m)
{
    static const char *const names[] = {[V_BOOL] = "a boolean",
                                        [V_TEXT] = "a string",
                                        [V_PATH] = "path string",
                                        [V_MAC] = "a string",
                                        [V_FDS] = "a sequence"};

    if (m->type == V_INT && (m->flags & M_NOT_ZERO) != 0)
        return m->max == UINT32_MAX ? "a nonzero u32" : "a nonzero u64";
    if (m->type == V_INT)
        return m->max == UINT8_MAX    ? "u8"
               : m->max == UINT16_MAX ? "u16"
               : m->max == UINT32_MAX ? "u32"
               : strcmp(m->name, "num_queues") == 0 || strcmp(m->name, "num_fds") == 0 ||
                       strcmp(m->name, "host_cpus") == 0
                   ? "usize"
                   : "u64";
    return m->type == V_OBJECT ? m->object->name : names[m->type];
}

static void add_choices(struct str *out, const char *const *words)
{
    size_t n = 0;

    while (words[n] != NULL)
        n++;
    str_add(out, n > 2 ? "expected one of " : "expected ");
    for (size_t i = 0; i < n; i++)
        str_addf(out, "%s`%s`", i == 0 ? "" : n == 2 ? " or " : ", ", words[i]);
}

static bool is_word(const char *const *words, const char *text)
{
    while (*words != NULL && strcmp(*words, text) != 0)
        words++;
    return *words != NULL;
}

static int read_object(const struct reader *r, const struct object *o, const struct json *j);

/* An array is taken for a structure, member by member, if only it has enough: an empty one is told so. */
static int wrong_array(const struct reader *r, const struct object *o, const struct json *j)
{
    int n = 0, needed = -1;

    for (const struct member *m = o->members; m->name != NULL; m++, n++)
        if (m->dflt == NULL && needed < 0)
            needed = n;
    if (j->first != NULL || (o->members[0].flags & M_FLAT) != 0) {
        str_addf(r->error, "invalid type: sequence, expected %s", o->name);
        return fail_at(r, j, false);
    }
    str_addf(r->error, "invalid length %d, expected %s with %d elements", needed, o->name, n);
    return fail_at(r, j, true);
}

static int wrong(const struct reader *r, const struct member *m, const struct json *j, const struct json *owner,
                 const char *what)
{
    if (m->type == V_OBJECT && j->type == JSON_ARRAY)
        return wrong_array(r, m->object, j);
    str_addf(r->error, "invalid %s: ", what);
    add_found(r->error, j);
    str_addf(r->error, ", expected %s", expected(m));
    return fail_at(r, (m->flags & M_FLAT) != 0 ? owner : j, (m->flags & M_FLAT) != 0);
}

static int read_word(const struct reader *r, const struct member *m, const struct json *j, const struct json *owner)
{
    if (j->type != JSON_STRING) {
        str_add(r->error, "expected value");
        return fail_at(r, j, false);
    }
    if (is_word(m->words, j->text))
        return 0;
    str_addf(r->error, "unknown variant `%s`, ", j->text);
    add_choices(r->error, m->words);
    return fail_at(r, (m->flags & M_FLAT) != 0 ? owner : j, true);
}

static bool is_mac(const char *text)
{
    size_t n = 0;

    for (; text[n] != '\0'; n++)
        if (n % 3 == 2 ? text[n] != ':' : strchr("0123456789abcdefABCDEF", text[n]) == NULL)
            return false;
    return n == 17;
}

static int read_value(const struct reader *r, const struct member *m, const struct json *j, const struct json *owner)
{
    enum json_type type = m->type == V_BOOL     ? JSON_BOOL
                          : m->type == V_INT    ? JSON_INT
                          : m->type == V_OBJECT ? JSON_OBJECT
                          : m->type == V_FDS    ? JSON_ARRAY
                                                : JSON_STRING;

    if (m->type == V_WORD)
        return read_word(r, m, j, owner);
    if (j->type != type)
        return wrong(r, m, j, owner, "type");
    if (m->type == V_INT && (j->number < ((m->flags & M_NOT_ZERO) != 0) || j->number > m->max))
        return wrong(r, m, j, owner, "value");
    if (m->type == V_MAC && !is_mac(j->text)) {
        str_addf(r->error, "invalid MAC address: %s", j->text);
        return fail_at(r, j, true);
    }
    return m->type == V_OBJECT ? read_object(r, m->object, j) : 0;
}

static int read_member(const struct reader *r, const struct member *m, const struct json *j, const struct json *owner)
{
    if (j->type == JSON_NULL && m->dflt == NULL && (m->flags & M_REQUIRED) == 0)
        return 0;
    if ((m->flags & M_LIST) == 0)
        return read_value(r, m, j, owner);
    if (j->type != JSON_ARRAY) {
        str_add(r->error, "invalid type: ");
        add_found(r->error, j);
        str_add(r->error, ", expected a sequence");
        return fail_at(r, j, false);
    }
    for (const struct json *item = j->first; item != NULL; item = item->next)
        if (read_value(r, m, item, owner) < 0)
            return -1;
    return 0;
}

static const struct member *member_of(const struct object *o, const char *name)
{
    for (const struct member *m = o->members; m->name != NULL; m++)
        if (strcmp(m->name, name) == 0 || (m->alias != NULL && strcmp(m->alias, name) == 0))
            return m;
    return NULL;
}

static int unknown(const struct reader *r, const struct object *o, const struct json *j)
{
    const char *names[8] = {NULL};
    struct place at = {.wanted = j, .p = r->body};

    for (size_t i = 0; i < 7 && o->members[i].name != NULL; i++)
        names[i] = o->members[i].name;
    str_addf(r->error, "unknown field `%s`, ", j->key);
    add_choices(r->error, names);
    walk(&at, r->root);
    for (at.end = at.start; *at.end != '"'; at.end--) /* the place is behind the name */
        ;
    add_place(r, at.end + 1);
    return -1;
}

static int read_object(const struct reader *r, const struct object *o, const struct json *j)
{
    for (const struct json *child = j->first; child != NULL; child = child->next) {
        const struct member *m = member_of(o, child->key);

        if (m == NULL && o->denies_unknown)
            return unknown(r, o, child);
        if (m == NULL)
            ch_fault("%s has no member '%s': it is ignored", o->name, child->key);
        else if ((m->flags & M_FLAT) == 0 && read_member(r, m, child, j) < 0)
            return -1;
    }
    for (int flat = 0; flat < 2; flat++) /* flattened parts are read when the rest is */
        for (const struct member *m = o->members; m->name != NULL; m++) {
            const struct json *child = json_get(j, m->name);

            if (((m->flags & M_FLAT) != 0) != (flat != 0))
                continue;
            if (child == NULL && (m->flags & M_REQUIRED) != 0) {
                str_addf(r->error, "missing field `%s`", m->name);
                return fail_at(r, j, true);
            }
            if (child != NULL && flat != 0 && read_member(r, m, child, j) < 0)
                return -1;
        }
    return 0;
}

int schema_read(const struct object *o, const char *body, size_t len, struct json **ret, struct str *error)
{
    auto_free char *text = mem_dup_n(body, len); /* ends with NUL */
    struct runner_error err = ERROR_INIT;
    struct json *tree = NULL;
    struct reader r = {.body = text, .len = len, .error = error};

    if (json_parse(text, len, &tree, &err) < 0) {
        str_add(error, "expected value at line 1 column 1"); /* the texts of syntax errors are not followed further */
        return -1;
    }
    r.root = tree;
    if (tree->type == JSON_OBJECT) {
        if (read_object(&r, o, tree) == 0) {
            *ret = tree;
            return 0;
        }
    } else if (tree->type == JSON_ARRAY) {
        (void)wrong_array(&r, o, tree);
    } else {
        str_add(error, "invalid type: ");
        add_found(error, tree);
        str_addf(error, ", expected %s", o->name);
        (void)fail_at(&r, tree, false);
    }
    json_free(tree);
    return -1;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_value(const struct member *m, const struct json *j, const char *key, struct str *out)
{
    if (m->type != V_OBJECT || j->type != JSON_OBJECT) {
        json_add_tree(out, key, j);
        return;
    }
    json_open(out, key, '{');
    schema_write(m->object, j, out);
    json_close(out, '}');
}

static void write_default(const struct member *m, struct str *out)
{
    struct json *j = NULL;
    char mac[18];

    if (m->type == V_MAC) {
        (void)snprintf(mac, sizeof mac, "2e:%02lx:%02lx:%02lx:%02lx:%02lx", random() & 255, random() & 255,
                       random() & 255, random() & 255, random() & 255);
        json_add_text(out, m->name, mac);
        return;
    }
    if (json_parse(m->dflt, strlen(m->dflt), &j, NULL) < 0)
        abort();
    write_value(m, j, m->name, out);
    json_free(j);
}

static void write_member(const struct member *m, const struct json *j, struct str *out)
{
    if ((m->flags & M_LIST) == 0) {
        write_value(m, j, m->name, out);
        return;
    }
    json_open(out, m->name, '[');
    for (const struct json *item = j->first; item != NULL; item = item->next)
        write_value(m, item, NULL, out);
    json_close(out, ']');
}

void schema_write(const struct object *o, const struct json *j, struct str *out)
{
    for (const struct member *m = o->members; m->name != NULL; m++) {
        const struct json *value = json_get(j, m->name);

        if (value == NULL && m->alias != NULL)
            value = json_get(j, m->alias);
        if (value != NULL && value->type == JSON_NULL)
            value = NULL;
        if ((m->flags & M_NOT_FALSE) != 0 && (value == NULL || value->number == 0))
            continue;
        if (value != NULL)
            write_member(m, value, out);
        else if (m->dflt != NULL)
            write_default(m, out);
        else if ((m->flags & M_NULL) != 0)
            json_add_null(out, m->name);
    }
}

struct json *schema_fill(const struct object *o, const struct json *j)
{
    auto_str struct str text = STR_INIT;
    struct json *filled = NULL;

    json_open(&text, NULL, '{');
    schema_write(o, j, &text);
    json_close(&text, '}');
    if (json_parse(text.ptr, text.len, &filled, NULL) < 0)
        abort();
    return filled;
}
