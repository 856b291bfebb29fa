/* What /metrics says of images. */
#include <string.h>

#include "core/images/inner.h"
#include "core/util/num.h"

const int image_bucket_s[IMAGE_BUCKETS] = {1, 2, 5, 10, 30, 60, 120, 300, 600, 1800};

void images_count_flight(const struct flight *flight)
{
    struct image_stats *stats = &flight->images->stats;
    int64_t us = num_now_us() - flight->begun_us;
    int bucket = 0;

    if (flight->err.code == 0) {
        stats->done++;
    } else {
        stats->failed++;
        stats->failures[flight->err.code < IMAGE_CODES ? flight->err.code : 0]++;
    }
    if (!flight->has_pulled)
        return;
    while (bucket < IMAGE_BUCKETS && us > image_bucket_s[bucket] * INT64_C(1000000))
        bucket++;
    stats->buckets[bucket]++;
    stats->pulled_us += us;
}

void images_count_base(struct images *images, int n, int64_t bytes)
{
    pthread_mutex_lock(&images->mutex);
    images->stats.bases += (uint64_t)n;
    images->stats.bases_bytes += n * bytes;
    pthread_mutex_unlock(&images->mutex);
}

void images_count_gone(struct images *images, int64_t bytes, bool is_evicted)
{
    images_count_base(images, -1, bytes);
    pthread_mutex_lock(&images->mutex);
    images->stats.evicted += is_evicted;
    images->stats.evicted_bytes += is_evicted ? (uint64_t)bytes : 0;
    pthread_mutex_unlock(&images->mutex);
}

void images_count_open(struct images *images, bool is_here)
{
    pthread_mutex_lock(&images->mutex);
    *(is_here ? &images->stats.opened : &images->stats.missed) += 1;
    pthread_mutex_unlock(&images->mutex);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The caller has the mutex. */
static void count_names(struct images *images, struct image_stats *ret)
{
    auto_free const char **bases = NULL;
    const struct named *named;
    size_t n = 0;

    LIST_FOREACH(named, &images->nameds, link)
        ret->names += named->base != NULL;
    bases = mem_array(ret->names, sizeof *bases);
    LIST_FOREACH(named, &images->nameds, link)
        if (named->base != NULL)
            bases[n++] = named->base;
    if (n > 0)
        qsort(bases, n, sizeof *bases, by_text);
    for (size_t i = 0; i < n; i++)
        ret->images += i == 0 || strcmp(bases[i - 1], bases[i]) != 0;
}

static void count_running(const struct flight *flight, struct image_stats *ret)
{
    int64_t us = num_now_us() - flight->begun_us;

    if (flight->is_over)
        return;
    ret->running++;
    if (us > ret->oldest_us)
        ret->oldest_us = us;
}

void images_read_stats(struct images *images, struct runner_call *call, struct image_stats *ret)
{
    const struct flight *flight;

    (void)images_load(images, call, NULL);
    pthread_mutex_lock(&images->mutex);
    *ret = images->stats;
    count_names(images, ret);
    TAILQ_FOREACH(flight, &images->flights, link)
        count_running(flight, ret);
    TAILQ_FOREACH(flight, &images->queue, queue_link)
        ret->waiting++;
    ret->running -= ret->waiting;
    pthread_mutex_unlock(&images->mutex);
}
