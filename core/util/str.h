/* Growing text: the one buffer type. Always NUL-terminated once something was added; may hold NUL bytes. */
#ifndef UTIL_STR_H
#define UTIL_STR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/cleanup.h"

struct str {
    char *ptr; /* NULL while empty and never grown */
    size_t len, cap;
};
#define STR_INIT                                                                                                       \
    {                                                                                                                  \
        NULL, 0, 0                                                                                                     \
    }

void str_done(struct str *s);
static inline void cleanup_str(struct str *s)
{
    int saved_errno = errno;
    str_done(s);
    errno = saved_errno;
}
#define auto_str CLEANUP(cleanup_str)

/* Out of memory ends the program in one place. */
_Noreturn void mem_die(void);
void str_grow(struct str *s, size_t more); /* what str_reserve() does where there is no room */
static inline void str_reserve(struct str *s, size_t more)
{
    if (s->cap <= s->len || more >= s->cap - s->len) /* the NUL needs room too */
        str_grow(s, more);
}
void str_add(struct str *s, const char *text);
void str_add_mem(struct str *s, const void *data, size_t len);
void str_add_char(struct str *s, char c);
void str_add_int(struct str *s, int64_t value);
void str_add_thousandths(struct str *s, uint64_t value); /* 1500: "1.5" */
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_addv(struct str *s, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void str_clear(struct str *s);
/* The text, never NULL; the buffer is empty afterwards; the caller frees. */
char *str_steal(struct str *s);
/* Never NULL. */
const char *str_text(const struct str *s);

/* malloc and friends that never return NULL: they end the program with a message. */
void *mem_alloc(size_t size);           /* zeroed */
void *mem_array(size_t n, size_t size); /* zeroed, overflow-checked */
void *mem_grow(void *old, size_t n, size_t size);
char *mem_dup(const char *text); /* NULL stays NULL */
char *mem_dup_n(const char *data, size_t len);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
