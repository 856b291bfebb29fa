#include "core/ctl/follow.h"

#include <string.h>

void follow_done(struct follow *f)
{
    str_done(&f->seen);
}

/* The longest start of now that is an end of seen (Knuth, Morris, Pratt: linear, whatever a guest writes). */
static size_t overlap(const struct str *seen, const char *now, size_t len)
{
    auto_free size_t *border = mem_array(len + 1, sizeof *border); /* of now[0..i) */
    size_t k = 0;

    for (size_t i = 1; i < len; i++) {
        while (k > 0 && now[i] != now[k])
            k = border[k];
        k += now[i] == now[k];
        border[i + 1] = k;
    }
    k = 0;
    for (size_t i = 0; i < seen->len; i++) {
        while (k > 0 && (k == len || seen->ptr[i] != now[k]))
            k = border[k];
        k += k < len && seen->ptr[i] == now[k];
    }
    return k;
}

static bool is_continued(const struct follow *f, const char *now, size_t len)
{
    size_t all = (size_t)f->all_bytes;

    return f->all_bytes >= 0 && len >= all && f->seen.len <= all &&
           (f->seen.len == 0 || memcmp(now + all - f->seen.len, f->seen.ptr, f->seen.len) == 0);
}

size_t follow_new(struct follow *f, const char *now, size_t len, bool is_whole)
{
    size_t at = is_whole && is_continued(f, now, len) ? (size_t)f->all_bytes : overlap(&f->seen, now, len);
    size_t keep = len < FOLLOW_WINDOW ? len : FOLLOW_WINDOW;

    f->all_bytes = is_whole ? (int64_t)len : -1;
    str_clear(&f->seen);
    str_add_mem(&f->seen, now + len - keep, keep);
    return at;
}
