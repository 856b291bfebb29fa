#include "core/view-images.h"

#include <inttypes.h>

#include "core/images/images.h"

static struct image_stats add_up(struct engine *engine, struct runner_call *call)
{
    struct image_stats sum = {.running = 0};

    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct image_stats of;
        struct runner_call child;

        call_init_child(&child, call, call_left_ms(call));
        child.host = engine->hosts[i];
        images_read_stats(engine->hosts[i]->images, &child, &of);
        sum.running += of.running;
        sum.done += of.done;
        sum.failed += of.failed;
        sum.fetched_bytes += of.fetched_bytes;
        sum.names += of.names;
        sum.bases += of.bases;
        sum.bases_bytes += of.bases_bytes;
    }
    return sum;
}

void view_add_image_metrics(struct engine *engine, struct runner_call *call, struct str *out)
{
    const struct image_stats stats = add_up(engine, call);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } counts[] = {
        {"runner_image_pulls_running", "gauge", "Images that are being pulled.", stats.running},
        {"runner_image_pulled_bytes_total", "counter", "Bytes of images that were made disks, as registries keep them.",
         stats.fetched_bytes},
        {"runner_image_names", "gauge", "References by which pulled images are known here.", stats.names},
        {"runner_image_bases", "gauge", "Disks that were made of images.", stats.bases},
        {"runner_image_bases_bytes", "gauge", "Bytes of content in disks that were made of images.",
         (uint64_t)stats.bases_bytes},
    };

    str_addf(out,
             "# HELP runner_image_pulls_total Pulls of images that ended, by result.\n"
             "# TYPE runner_image_pulls_total counter\n"
             "runner_image_pulls_total{result=\"done\"} %" PRIu64 "\n"
             "runner_image_pulls_total{result=\"failed\"} %" PRIu64 "\n",
             stats.done, stats.failed);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        str_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", counts[i].name, counts[i].help, counts[i].name,
                 counts[i].type, counts[i].name, counts[i].value);
}
