#include "core/util/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FORMAT_ROOM 128 /* a path of a sandbox fits, and is not formatted twice */

void mem_die(void)
{
    static const char text[] = "out of memory\n";

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

void *mem_alloc(size_t size)
{
    void *p = calloc(1, size > 0 ? size : 1);

    if (p == NULL)
        mem_die();
    return p;
}

void *mem_array(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size > 0 ? size : 1);

    if (p == NULL)
        mem_die();
    return p;
}

void *mem_grow(void *old, size_t n, size_t size)
{
    void *p = reallocarray(old, n > 0 ? n : 1, size);

    if (p == NULL)
        mem_die();
    return p;
}

char *mem_dup_n(const char *data, size_t len)
{
    char *copy;

    if (len == SIZE_MAX)
        mem_die();
    copy = mem_grow(NULL, len + 1, 1);
    memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

char *mem_dup(const char *text)
{
    return text == NULL ? NULL : mem_dup_n(text, strlen(text));
}

char *mem_printf(const char *format, ...)
{
    struct str s = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&s, format, args);
    va_end(args);
    return str_steal(&s);
}

void str_done(struct str *s)
{
    free(s->ptr);
    *s = (struct str)STR_INIT;
}

void str_grow(struct str *s, size_t more)
{
    size_t need, cap;

    if (more > SIZE_MAX / 2 - s->len - 1)
        mem_die();
    need = s->len + more + 1;
    cap = s->cap < 64 ? 64 : s->cap < 4096 ? 4 * s->cap : 2 * s->cap;
    if (cap < need)
        cap = need;
    s->ptr = mem_grow(s->ptr, cap, 1);
    s->cap = cap;
}

void str_add_mem(struct str *s, const void *data, size_t len)
{
    str_reserve(s, len);
    if (len > 0)
        memcpy(s->ptr + s->len, data, len);
    s->len += len;
    s->ptr[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_add_mem(s, text, strlen(text));
}

void str_add_char(struct str *s, char c)
{
    str_add_mem(s, &c, 1);
}

void str_add_int(struct str *s, int64_t value)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;

    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        *--at = '-';
    str_add_mem(s, at, (size_t)(digits + sizeof digits - at));
}

void str_add_thousandths(struct str *s, uint64_t value)
{
    const char rest[] = {(char)('0' + value / 100 % 10), (char)('0' + value / 10 % 10), (char)('0' + value % 10)};
    size_t len = sizeof rest;

    str_add_int(s, (int64_t)(value / 1000));
    while (len > 0 && rest[len - 1] == '0')
        len--;
    if (len == 0)
        return;
    str_add_char(s, '.');
    str_add_mem(s, rest, len);
}

/* Most formats are texts and nothing else: printf() takes several times as long for them. */
static bool is_of_texts(const char *format)
{
    while ((format = strchr(format, '%')) != NULL) {
        if (format[1] != 's')
            return false;
        format += 2;
    }
    return true;
}

static void add_texts(struct str *s, const char *format, va_list args)
{
    const char *end;

    for (; (end = strchr(format, '%')) != NULL; format = end + 2) {
        const char *text = va_arg(args, const char *);

        str_add_mem(s, format, (size_t)(end - format));
        str_add(s, text != NULL ? text : "(null)");
    }
    str_add(s, format);
}

void str_addv(struct str *s, const char *format, va_list args)
{
    va_list again;
    int length;

    str_reserve(s, FORMAT_ROOM);
    if (is_of_texts(format)) {
        add_texts(s, format, args);
        return;
    }
    va_copy(again, args);
    length = vsnprintf(s->ptr + s->len, s->cap - s->len, format, args);
    if (length > 0 && (size_t)length >= s->cap - s->len) {
        str_reserve(s, (size_t)length);
        length = vsnprintf(s->ptr + s->len, s->cap - s->len, format, again);
    }
    va_end(again);
    if (length > 0)
        s->len += (size_t)length;
    s->ptr[s->len] = '\0';
}

void str_addf(struct str *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    str_addv(s, format, args);
    va_end(args);
}

void str_clear(struct str *s)
{
    s->len = 0;
    if (s->ptr != NULL)
        s->ptr[0] = '\0';
}

char *str_steal(struct str *s)
{
    char *text = s->ptr != NULL ? s->ptr : mem_dup("");

    *s = (struct str)STR_INIT;
    return text;
}

const char *str_text(const struct str *s)
{
    return s->ptr != NULL ? s->ptr : "";
}
