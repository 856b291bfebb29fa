/* What the whole program shares: made by main, constant but for what guards itself. */
#ifndef CORE_ENGINE_H
#define CORE_ENGINE_H

#include <stdatomic.h>

#include "core/host.h"
#include "core/pool.h"
#include "core/sandbox.h"

struct agent;
struct op;
struct reaper;

#define ENGINE_BUCKETS 14

struct engine_stats { /* counters for /metrics */
    atomic_ulong ops_done[16], ops_failed[16]; /* by enum op_kind */
    atomic_ulong op_us[16];
    atomic_ulong op_buckets[16][ENGINE_BUCKETS + 1]; /* by how long they took, see engine_bucket_us */
};
extern const int64_t engine_bucket_us[ENGINE_BUCKETS]; /* upper ends; what takes longer is in one bucket more */

/* An operation of this kind (enum op_kind) ended. Any thread. */
void engine_count_op(struct engine_stats *stats, int kind, bool is_failed, int64_t us);

struct engine {
    const struct config *config;
    struct host **hosts;
    size_t n_hosts;
    struct index *index;
    struct pool *pool;
    struct reaper *reaper;
    struct agent *agent; /* NULL: no jobs are taken */
    pthread_mutex_t ops_mutex; /* guards the list */
    struct op *running;        /* operations that may be cancelled */
    /* A sandbox's VM has ended, whoever ended it: streams into it are dead, though nothing may tell them. Worker. */
    void (*vm_gone)(void *ctx, const char *id);
    void *vm_gone_ctx;
    struct engine_stats stats;
    int64_t started_ms; /* wall clock */
    atomic_bool is_trimming; /* trim.c */
};

/* The host for a new sandbox. Today the first; with several hosts the one named in the request's place. */
struct host *engine_pick_host(struct engine *engine);

#endif
