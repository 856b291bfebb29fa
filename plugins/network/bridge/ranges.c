#include "plugins/network/bridge/ranges.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/str.h"

void ranges_done(struct ranges *r)
{
    free(r->list);
    *r = (struct ranges){NULL, 0};
}

bool ranges_parse(const char *text, struct range *ret)
{
    const char *slash = strchr(text, '/');
    auto_free char *ip = mem_dup_n(text, slash != NULL ? (size_t)(slash - text) : strlen(text));
    struct in_addr address;
    int64_t bits = 32;
    uint32_t hosts;

    if (inet_pton(AF_INET, ip, &address) != 1 || (slash != NULL && !num_int(slash + 1, 0, 32, &bits)))
        return false;
    hosts = bits == 0 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (32 - bits)) - 1);
    ret->first = ntohl(address.s_addr) & ~hosts;
    ret->last = ret->first | hosts;
    return true;
}

void ranges_add(struct ranges *r, struct range range)
{
    r->list = mem_grow(r->list, r->n + 1, sizeof *r->list);
    r->list[r->n++] = range;
}

static int compare(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

void ranges_tidy(struct ranges *r)
{
    size_t n = 0;

    if (r->n == 0)
        return;
    qsort(r->list, r->n, sizeof *r->list, compare);
    for (size_t i = 1; i < r->n; i++) {
        if (r->list[n].last == UINT32_MAX || r->list[i].first <= r->list[n].last + 1) {
            if (r->list[i].last > r->list[n].last)
                r->list[n].last = r->list[i].last;
        } else {
            r->list[++n] = r->list[i];
        }
    }
    r->n = n + 1;
}

void ranges_subtract(struct ranges *from, const struct ranges *what)
{
    struct ranges left = {NULL, 0};

    for (size_t i = 0; i < from->n; i++) {
        struct range r = from->list[i];
        bool is_whole = true; /* there is something of it behind what was taken */

        for (size_t j = 0; j < what->n && is_whole; j++) {
            const struct range *w = &what->list[j];

            if (w->last < r.first || w->first > r.last)
                continue;
            if (w->first > r.first)
                ranges_add(&left, (struct range){r.first, w->first - 1});
            is_whole = w->last < r.last;
            if (is_whole)
                r.first = w->last + 1;
        }
        if (is_whole)
            ranges_add(&left, r);
    }
    ranges_done(from);
    *from = left;
}

bool ranges_next_network(struct range *r, unsigned *ret_prefix)
{
    uint64_t size = 1, all = (uint64_t)r->last - r->first + 1;
    unsigned prefix = 32;

    while (prefix > 0 && size * 2 <= all && (r->first & (uint32_t)(size * 2 - 1)) == 0) {
        size *= 2;
        prefix--;
    }
    *ret_prefix = prefix;
    if (size == all)
        return false;
    r->first += (uint32_t)size;
    return true;
}
