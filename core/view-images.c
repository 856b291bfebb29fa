#include "core/view-images.h"

#include <inttypes.h>

#include "core/images/images.h"
#include "core/util/error.h"

static void add_up(struct image_stats *sum, const struct image_stats *of)
{
    sum->running += of->running;
    sum->waiting += of->waiting;
    sum->oldest_us = of->oldest_us > sum->oldest_us ? of->oldest_us : sum->oldest_us;
    sum->done += of->done;
    sum->failed += of->failed;
    for (int i = 0; i < IMAGE_CODES; i++)
        sum->failures[i] += of->failures[i];
    for (int i = 0; i <= IMAGE_BUCKETS; i++)
        sum->buckets[i] += of->buckets[i];
    sum->pulled_us += of->pulled_us;
    sum->fetched_bytes += of->fetched_bytes;
    sum->opened += of->opened;
    sum->missed += of->missed;
    sum->evicted += of->evicted;
    sum->evicted_bytes += of->evicted_bytes;
    sum->names += of->names;
    sum->bases += of->bases;
    sum->bases_bytes += of->bases_bytes;
}

static struct image_stats read_all(struct engine *engine, struct runner_call *call)
{
    struct image_stats sum = {.running = 0};

    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct image_stats of;
        struct runner_call child;

        call_init_child(&child, call, call_left_ms(call));
        child.host = engine->hosts[i];
        images_read_stats(engine->hosts[i]->images, &child, &of);
        add_up(&sum, &of);
    }
    return sum;
}

static void add_head(struct str *out, const char *name, const char *type, const char *help)
{
    str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_counts(const struct image_stats *stats, struct str *out)
{
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } counts[] = {
        {"runner_image_pulls_running", "gauge", "Images that are being pulled.", stats->running},
        {"runner_image_pulls_waiting", "gauge", "Pulls that wait for others, see limits.pulls.", stats->waiting},
        {"runner_image_pulled_bytes_total", "counter", "Bytes of images that were made disks, as registries keep them.",
         stats->fetched_bytes},
        {"runner_image_evictions_total", "counter", "Disks of images that were removed to make room.", stats->evicted},
        {"runner_image_evicted_bytes_total", "counter", "Bytes of content in those.", stats->evicted_bytes},
        {"runner_image_names", "gauge", "References by which pulled images are known here.", stats->names},
        {"runner_image_bases", "gauge", "Disks that were made of images.", stats->bases},
        {"runner_image_bases_bytes", "gauge", "Bytes of content in disks that were made of images.",
         (uint64_t)stats->bases_bytes},
    };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        add_head(out, counts[i].name, counts[i].type, counts[i].help);
        str_addf(out, "%s %" PRIu64 "\n", counts[i].name, counts[i].value);
    }
}

static void add_seconds(const struct image_stats *stats, struct str *out)
{
    uint64_t n = 0;

    add_head(out, "runner_image_pull_seconds", "histogram", "Time of pulls that made a disk, with their waits for others.");
    for (int i = 0; i <= IMAGE_BUCKETS; i++) {
        n += stats->buckets[i];
        if (i < IMAGE_BUCKETS)
            str_addf(out, "runner_image_pull_seconds_bucket{le=\"%d\"} %" PRIu64 "\n", image_bucket_s[i], n);
    }
    str_addf(out,
             "runner_image_pull_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\nrunner_image_pull_seconds_sum %.3f\n"
             "runner_image_pull_seconds_count %" PRIu64 "\n",
             n, (double)stats->pulled_us / 1e6, n);
    add_head(out, "runner_image_pull_oldest_seconds", "gauge", "How long the pull takes so far that takes longest.");
    str_addf(out, "runner_image_pull_oldest_seconds %.3f\n", (double)stats->oldest_us / 1e6);
}

static void add_results(const struct image_stats *stats, struct str *out)
{
    add_head(out, "runner_image_pulls_total", "counter", "Pulls of images that ended, by result.");
    str_addf(out,
             "runner_image_pulls_total{result=\"done\"} %" PRIu64 "\nrunner_image_pulls_total{result=\"failed\"} %" PRIu64
             "\n",
             stats->done, stats->failed);
    add_head(out, "runner_image_pull_failures_total", "counter", "Pulls of images that failed, by kind of error.");
    for (int code = RUNNER_E_INVALID; code <= RUNNER_E_DENIED; code++)
        str_addf(out, "runner_image_pull_failures_total{code=\"%s\"} %" PRIu64 "\n", error_name(code),
                 stats->failures[code]);
    add_head(out, "runner_image_opens_total", "counter", "Creates, by whether their image was here.");
    str_addf(out,
             "runner_image_opens_total{result=\"here\"} %" PRIu64 "\nrunner_image_opens_total{result=\"fetched\"} %" PRIu64
             "\n",
             stats->opened, stats->missed);
}

void view_add_image_metrics(struct engine *engine, struct runner_call *call, struct str *out)
{
    const struct image_stats stats = read_all(engine, call);

    add_results(&stats, out);
    add_seconds(&stats, out);
    add_counts(&stats, out);
}
