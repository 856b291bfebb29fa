#include "core/util/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool text_is_id(const char *id)
{
    size_t len = strlen(id);

    if (len < 1 || len > 63 || !is_lower_or_digit(id[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_lower_or_digit(id[i]) && id[i] != '-')
            return false;
    return true;
}

static bool is_alnum(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool text_is_ref(const char *ref)
{
    bool at_start = true;
    int components = 1;

    if (strlen(ref) < 1 || strlen(ref) > 255)
        return false;
    for (const char *p = ref; *p != '\0'; p++) {
        if (*p == '/') {
            if (at_start || ++components > 8)
                return false;
            at_start = true;
        } else if (is_alnum(*p) || (!at_start && strchr("._:@-", *p) != NULL)) {
            at_start = false;
        } else {
            return false;
        }
    }
    return !at_start;
}

bool text_is_plugin_name(const char *name)
{
    size_t len = strlen(name);

    if (len < 1 || len > 32)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_lower_or_digit(name[i]) && name[i] != '-')
            return false;
    return true;
}

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[65];
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len > 64 || b_len > 64)
        return 65;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[b_len];
}

const char *text_nearest(const char *word, const char *const *words, size_t n)
{
    size_t best = strlen(word) < 4 ? 2 : 1 + strlen(word) / 3;
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(word, words[i]);
        if (distance < best || (distance == best && found == NULL)) {
            best = distance;
            found = words[i];
        }
    }
    return found;
}

bool text_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len)
{
    volatile unsigned char differs = a_len != b_len;

    for (size_t i = 0; i < b_len; i++)
        differs |= (unsigned char)((i < a_len ? a[i] : 0) ^ b[i]);
    return differs == 0;
}

void text_add_escaped(struct str *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t from = i;
        while (i < len && text[i] >= 0x20 && text[i] < 0x7f && text[i] != '\\')
            i++;
        str_add_mem(out, text + from, i - from);
        if (i < len)
            str_addf(out, "\\x%02x", (unsigned char)text[i]);
    }
}

bool text_starts(const char *text, const char *prefix, const char **ret_rest)
{
    size_t len = strlen(prefix);

    if (strncmp(text, prefix, len) != 0)
        return false;
    if (ret_rest != NULL)
        *ret_rest = text + len;
    return true;
}
