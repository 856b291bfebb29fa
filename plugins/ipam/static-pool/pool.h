/*
 * A pool of IPv4 addresses and who holds them. Addresses are in host byte order. Every call is O(1), but for the search of
 * the few ranges. The pool locks itself: any thread may call.
 */
#ifndef STATIC_POOL_POOL_H
#define STATIC_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"

#define POOL_RANGES_MAX    64
#define POOL_ADDRESSES_MAX 65536 /* a /16: 2 MB of slots at most */

struct pool_range {
    uint32_t first, last; /* both inclusive */
};

struct pool;

/* NULL when out of memory. Empty until pool_add_range. */
struct pool *pool_new(void);
void pool_free(struct pool *pool); /* takes NULL */

/* While one thread has it. INVALID when it overlaps an earlier range, or the bounds above are passed. */
int pool_add_range(struct pool *pool, struct pool_range range, struct runner_error *err);
/* While one thread has it, after the last range: these addresses are never leased. What lies outside is ignored. */
void pool_exclude(struct pool *pool, struct pool_range range);

/* The address of owner: the one it has, or that which was free for the longest time. NOSPACE when there is none. */
int pool_lease(struct pool *pool, const char *owner, uint32_t *ret_address, struct runner_error *err);
/* owner holds this address from now. INVALID: not in the pool or excluded. EXISTS: another holds it, or owner holds
 * another. */
int pool_adopt(struct pool *pool, const char *owner, uint32_t address, struct runner_error *err);
/* True when owner held an address, which is free now. */
bool pool_release(struct pool *pool, const char *owner);
void pool_usage(struct pool *pool, uint64_t *ret_free, uint64_t *ret_total);

/* "10.0.0.2" for a host byte order address; the text has room for 16 bytes. */
const char *pool_text(uint32_t address, char text[16]);

#endif
