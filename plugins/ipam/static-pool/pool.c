#include "plugins/ipam/static-pool/pool.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* One address of the pool. Free ones form a queue, oldest first; held ones a chain of their owner's hash bucket. */
struct slot {
    char *owner; /* NULL: free or excluded */
    uint32_t prev, next;
    bool is_excluded;
};

struct pool {
    pthread_mutex_t lock; /* guards all below once the pool is built */
    struct pool_range ranges[POOL_RANGES_MAX];
    uint32_t base[POOL_RANGES_MAX]; /* slot of a range's first address */
    size_t n_ranges;
    struct slot *slots;
    uint32_t *buckets; /* heads of chains; their number is a power of two */
    uint32_t n_slots, n_buckets, head, tail, n_free, n_excluded;
};

struct pool *pool_new(void)
{
    struct pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->head = pool->tail = NONE;
    return pool;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL)
        return;
    for (uint32_t i = 0; i < pool->n_slots; i++)
        free(pool->slots[i].owner);
    free(pool->slots);
    free(pool->buckets);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

const char *pool_text(uint32_t address, char text[16])
{
    struct in_addr in = {.s_addr = htonl(address)};

    return inet_ntop(AF_INET, &in, text, 16);
}

/* ---- the queue of free slots ---- */

static void queue_push(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];

    slot->prev = pool->tail;
    slot->next = NONE;
    if (pool->tail == NONE)
        pool->head = index;
    else
        pool->slots[pool->tail].next = index;
    pool->tail = index;
    pool->n_free++;
}

static void queue_take(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];

    if (slot->prev == NONE)
        pool->head = slot->next;
    else
        pool->slots[slot->prev].next = slot->next;
    if (slot->next == NONE)
        pool->tail = slot->prev;
    else
        pool->slots[slot->next].prev = slot->prev;
    pool->n_free--;
}

/* ---- owners ---- */

static uint32_t *bucket_of(struct pool *pool, const char *owner)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (const char *p = owner; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return &pool->buckets[(hash ^ hash >> 15) & (pool->n_buckets - 1)];
}

/* Where the owner's index stands: in its bucket or in the slot before it; *where is NONE when it holds nothing. */
static uint32_t *owner_find(struct pool *pool, const char *owner)
{
    uint32_t *where = bucket_of(pool, owner);

    while (*where != NONE && strcmp(pool->slots[*where].owner, owner) != 0)
        where = &pool->slots[*where].next;
    return where;
}

/* The slot leaves the queue and joins the chain of its owner. */
static int slot_hold(struct pool *pool, uint32_t index, const char *owner, struct runner_error *err)
{
    char *copy = strdup(owner);
    uint32_t *bucket = bucket_of(pool, owner);

    if (copy == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "lease an address to '%s'", owner);
    queue_take(pool, index);
    pool->slots[index].owner = copy;
    pool->slots[index].next = *bucket;
    *bucket = index;
    return 0;
}

/* ---- addresses ---- */

static uint32_t index_of(const struct pool *pool, uint32_t address)
{
    for (size_t i = 0; i < pool->n_ranges; i++)
        if (address >= pool->ranges[i].first && address <= pool->ranges[i].last)
            return pool->base[i] + (address - pool->ranges[i].first);
    return NONE;
}

static uint32_t address_of(const struct pool *pool, uint32_t index)
{
    size_t i = pool->n_ranges - 1;

    while (index < pool->base[i])
        i--;
    return pool->ranges[i].first + (index - pool->base[i]);
}

static int slots_grow(struct pool *pool, uint32_t more, struct runner_error *err)
{
    uint32_t n_slots = pool->n_slots + more, n_buckets = 16;
    struct slot *slots = reallocarray(pool->slots, n_slots, sizeof *slots);
    uint32_t *buckets;

    if (slots == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "pool of %u addresses", n_slots);
    pool->slots = slots;
    while (n_buckets < n_slots)
        n_buckets *= 2;
    buckets = reallocarray(pool->buckets, n_buckets, sizeof *buckets);
    if (buckets == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "pool of %u addresses", n_slots);
    memset(buckets, 0xff, n_buckets * sizeof *buckets); /* NONE; nobody holds anything yet */
    pool->buckets = buckets;
    pool->n_buckets = n_buckets;
    memset(slots + pool->n_slots, 0, more * sizeof *slots);
    for (; pool->n_slots < n_slots; pool->n_slots++)
        queue_push(pool, pool->n_slots);
    return 0;
}

int pool_add_range(struct pool *pool, struct pool_range range, struct runner_error *err)
{
    char first[16], last[16];

    if (pool->n_ranges == POOL_RANGES_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d ranges", POOL_RANGES_MAX);
    if (range.last - range.first >= POOL_ADDRESSES_MAX - pool->n_slots)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d addresses", POOL_ADDRESSES_MAX);
    for (size_t i = 0; i < pool->n_ranges; i++)
        if (range.first <= pool->ranges[i].last && range.last >= pool->ranges[i].first)
            return fail(err, RUNNER_E_INVALID, 0, "overlaps the range %s-%s", pool_text(pool->ranges[i].first, first),
                        pool_text(pool->ranges[i].last, last));
    pool->base[pool->n_ranges] = pool->n_slots;
    if (slots_grow(pool, range.last - range.first + 1, err) < 0)
        return -1;
    pool->ranges[pool->n_ranges++] = range;
    return 0;
}

void pool_exclude(struct pool *pool, struct pool_range range)
{
    for (uint32_t index = 0; index < pool->n_slots; index++) {
        uint32_t address = address_of(pool, index);
        if (address < range.first || address > range.last || pool->slots[index].is_excluded)
            continue;
        queue_take(pool, index);
        pool->slots[index].is_excluded = true;
        pool->n_excluded++;
    }
}

/* ---- leases ---- */

static int lease_locked(struct pool *pool, const char *owner, uint32_t *ret_address, struct runner_error *err)
{
    uint32_t total = pool->n_slots - pool->n_excluded, index = *owner_find(pool, owner);

    if (index == NONE) {
        index = pool->head;
        if (index == NONE) {
            (void)fail(err, RUNNER_E_NOSPACE, 0, "address pool exhausted: %u of %u addresses in use, %u more excluded",
                       total - pool->n_free, total, pool->n_excluded);
            if (err != NULL)
                err->retry = 1;
            return -1;
        }
        if (slot_hold(pool, index, owner, err) < 0)
            return -1;
    }
    *ret_address = address_of(pool, index);
    return 0;
}

int pool_lease(struct pool *pool, const char *owner, uint32_t *ret_address, struct runner_error *err)
{
    int status;

    pthread_mutex_lock(&pool->lock);
    status = lease_locked(pool, owner, ret_address, err);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

static int adopt_locked(struct pool *pool, const char *owner, uint32_t address, struct runner_error *err)
{
    uint32_t index = index_of(pool, address), held = *owner_find(pool, owner);
    char text[16], other[16];

    if (index == NONE)
        return fail(err, RUNNER_E_INVALID, 0, "address %s of '%s' is outside the pool", pool_text(address, text),
                    owner);
    if (pool->slots[index].is_excluded)
        return fail(err, RUNNER_E_INVALID, 0, "address %s of '%s' is excluded from the pool", pool_text(address, text),
                    owner);
    if (held == index)
        return 0;
    if (held != NONE)
        return fail(err, RUNNER_E_EXISTS, 0, "'%s' holds %s already, not %s", owner,
                    pool_text(address_of(pool, held), other), pool_text(address, text));
    if (pool->slots[index].owner != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "address %s of '%s' is held by '%s'", pool_text(address, text), owner,
                    pool->slots[index].owner);
    return slot_hold(pool, index, owner, err);
}

int pool_adopt(struct pool *pool, const char *owner, uint32_t address, struct runner_error *err)
{
    int status;

    pthread_mutex_lock(&pool->lock);
    status = adopt_locked(pool, owner, address, err);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

bool pool_release(struct pool *pool, const char *owner)
{
    uint32_t *where, index;

    pthread_mutex_lock(&pool->lock);
    where = owner_find(pool, owner);
    index = *where;
    if (index != NONE) {
        struct slot *slot = &pool->slots[index];
        *where = slot->next;
        free(slot->owner);
        slot->owner = NULL;
        queue_push(pool, index);
    }
    pthread_mutex_unlock(&pool->lock);
    return index != NONE;
}

void pool_usage(struct pool *pool, uint64_t *ret_free, uint64_t *ret_total)
{
    pthread_mutex_lock(&pool->lock);
    *ret_free = pool->n_free;
    *ret_total = pool->n_slots - pool->n_excluded;
    pthread_mutex_unlock(&pool->lock);
}
