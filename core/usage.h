/* How busy a host's processors were of late: the difference between looks at their counters. Pure; the caller guards it. */
#ifndef CORE_USAGE_H
#define CORE_USAGE_H

#include <stddef.h>
#include <stdint.h>

#define USAGE_LOOKS_MAX 12

struct cpu_look {        /* at the counters of /proc/stat, of all processors together */
    int64_t at_us;       /* monotonic */
    int64_t busy, total; /* ticks since the host booted; total 0: they could not be read */
};

struct cpu_usage {
    struct cpu_look looks[USAGE_LOOKS_MAX]; /* the latest last */
    size_t n;
};

/* Looks may come at any time: those that are close together become one. Of some minutes they are kept; what does not count
 * on from the look before (the host has booted) begins anew. */
void usage_add(struct cpu_usage *usage, const struct cpu_look *look);

/* 0 to 100, from the first look that is kept to the last; -1: nothing to compare yet. */
double usage_percent(const struct cpu_usage *usage);

#endif
