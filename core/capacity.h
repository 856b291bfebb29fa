/*
 * The capacity of a host: what it has, what its sandboxes may be promised of that together, and what they are promised.
 * A sandbox is admitted by these sums before any work for it begins. They hold the worst case: every vCPU and byte that
 * a sandbox was created with, whether its guest uses it or not. A stopped one has no vCPUs and no memory, a paused one
 * has both.
 *
 * No function here blocks. In a host all of it is guarded by the index's lock, see sandbox.h.
 */
#ifndef CORE_CAPACITY_H
#define CORE_CAPACITY_H

#include "core/config.h"

enum resource { RESOURCE_SANDBOXES, RESOURCE_CPUS, RESOURCE_MEMORY, RESOURCE_DISK, RESOURCES };

/* Why something was refused: one of the resources, or ... */
enum { REFUSED_SPACE = RESOURCES /* of the file system, really free */, REFUSED_ADDRESS, REFUSALS };

struct amounts { /* sandboxes, vCPUs, bytes, bytes */
    int64_t of[RESOURCES];
};

struct capacity {
    const char *host; /* its name, for errors */
    const struct config_capacity *settings;
    struct amounts has; /* what the host has; 0: not known, and then no limit. Of RESOURCE_SANDBOXES: nothing */
    struct amounts allocated;
    uint64_t refused[REFUSALS]; /* how many times for lack of it; one refusal may be for several */
};

#define CAPACITY_UNLIMITED INT64_MAX
/* What an empty sandbox takes of the file system before its guest writes anything: overlay, seed, record, logs. */
#define CAPACITY_EMPTY_SANDBOX (INT64_C(4) << 20)

const char *capacity_refusal_name(int refusal); /* "sandboxes", "cpus", "memory", "disk", "space", "addresses" */

/* What the host was found to have; what is 0 was not found out and stays as it was. */
void capacity_learn(struct capacity *capacity, const struct amounts *found);

/* What all sandboxes together may be promised, or CAPACITY_UNLIMITED: (has - reserve) * overcommit. */
int64_t capacity_limit(const struct capacity *capacity, enum resource resource);
/* What is left of that, at least 0, or CAPACITY_UNLIMITED. */
int64_t capacity_free(const struct capacity *capacity, enum resource resource);

/* Takes all of what is wanted, or nothing: -1 with NOSPACE, and for each resource that is short what was asked for, what
 * is free, and from which settings that follows. Nothing wanted of a resource is never too much. */
int capacity_take(struct capacity *capacity, const struct amounts *wanted, struct runner_error *err);
/* Without asking: what sandboxes found at start-up have. */
void capacity_add(struct capacity *capacity, const struct amounts *amounts);
void capacity_give_back(struct capacity *capacity, const struct amounts *amounts);

/* Whether the file system has room for one more empty sandbox beside the reserve; else -1 with NOSPACE and the numbers.
 * Always, where disk_overcommit sets no limit. */
int capacity_check_space(struct capacity *capacity, int64_t free_bytes, struct runner_error *err);

/* "4 CPUs times capacity.cpu_overcommit 8": where the limit of CPUS, MEMORY or DISK comes from. Which must have one. */
void capacity_explain(const struct capacity *capacity, enum resource resource, struct str *out);
/* "3584 MiB", "12.5 GiB", "3": an amount as people read it, rounded down. */
void capacity_print(enum resource resource, int64_t amount, struct str *out);

#endif
