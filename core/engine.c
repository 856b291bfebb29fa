#include "core/engine.h"

struct host *engine_pick_host(struct engine *engine)
{
    return engine->hosts[0];
}

const int64_t engine_bucket_us[ENGINE_BUCKETS] = {2500,   5000,    10000,   25000,   50000,    100000,   250000,
                                                  500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};

void engine_count_op(struct engine_stats *stats, int kind, bool is_failed, int64_t us)
{
    int bucket = 0;

    while (bucket < ENGINE_BUCKETS && us > engine_bucket_us[bucket])
        bucket++;
    atomic_fetch_add(is_failed ? &stats->ops_failed[kind] : &stats->ops_done[kind], 1);
    atomic_fetch_add(&stats->op_us[kind], (unsigned long)us);
    atomic_fetch_add(&stats->op_buckets[kind][bucket], 1);
}
