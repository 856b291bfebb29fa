#include "core/usage.h"

#include <string.h>

#define APART_US (INT64_C(5) * 1000000) /* looks that are kept */
#define KEPT_US  (INT64_C(300) * 1000000)

static void drop_first(struct cpu_usage *usage)
{
    usage->n--;
    memmove(usage->looks, usage->looks + 1, usage->n * sizeof usage->looks[0]);
}

void usage_add(struct cpu_usage *usage, const struct cpu_look *look)
{
    const struct cpu_look *last = usage->n > 0 ? &usage->looks[usage->n - 1] : NULL;

    if (look->total <= 0)
        return;
    if (last != NULL && (look->total < last->total || look->busy < last->busy))
        usage->n = 0;
    if (usage->n >= 2 && usage->looks[usage->n - 1].at_us - usage->looks[usage->n - 2].at_us < APART_US)
        usage->n--;
    if (usage->n == USAGE_LOOKS_MAX)
        drop_first(usage);
    usage->looks[usage->n++] = *look;
    while (usage->n > 2 && look->at_us - usage->looks[0].at_us > KEPT_US)
        drop_first(usage);
}

double usage_percent(const struct cpu_usage *usage)
{
    const struct cpu_look *first = &usage->looks[0], *last;
    int64_t busy, total;

    if (usage->n < 2)
        return -1;
    last = &usage->looks[usage->n - 1];
    busy = last->busy - first->busy;
    total = last->total - first->total;
    if (total <= 0)
        return -1;
    return busy < total ? 100 * (double)busy / (double)total : 100;
}
