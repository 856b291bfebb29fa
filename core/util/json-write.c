/* JSON, written into a str. */
#include <string.h>

#include "core/util/json.h"
#include "core/util/utf8.h"

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Not zero when one of its bytes is; nothing else is asked of those above. */
static uint64_t has_zero(uint64_t bytes)
{
    return (bytes - EACH(1)) & ~bytes & EACH(0x80);
}

/* Whether eight bytes stand in JSON as they are. */
static bool are_plain(const unsigned char *p)
{
    uint64_t bytes;

    memcpy(&bytes, p, sizeof bytes);
    return ((bytes & EACH(0x80)) | ((bytes - EACH(0x20)) & ~bytes & EACH(0x80)) | has_zero(bytes ^ EACH('"')) |
            has_zero(bytes ^ EACH('\\')) | has_zero(bytes ^ EACH(0x7f))) == 0;
}

/* How much of it stands in JSON as it is, up to what has to be looked at. */
static size_t plain_len(const unsigned char *p, size_t left)
{
    size_t n = 0;

    while (left - n >= sizeof(uint64_t) && are_plain(p + n))
        n += sizeof(uint64_t);
    while (n < left && p[n] >= 0x20 && p[n] < 0x7f && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

static void add_quoted(struct str *s, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = strlen(text);

    str_reserve(s, left + 3); /* with a comma or colon behind it, where all of it is plain */
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
    str_add_int(s, value);
}

void json_add_real(struct str *s, const char *key, double value)
{
    begin(s, key);
    if (value != value || value > 1e300 || value < -1e300)
        str_add(s, "null");
    else if (value > -1e9 && value < 1e9 && value == (double)(int)value) /* most are whole, and read alike */
        str_add_int(s, (int)value);
    else
        str_addf(s, "%.10g", value + 0.0); /* a zero without a sign, which whoever reads it would lose */
}

void json_add_thousandths(struct str *s, const char *key, uint64_t value)
{
    begin(s, key);
    str_add_thousandths(s, value);
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
