/* Which bridge has room. Linux gives a bridge 1 023 ports, so a network has more of them when it needs some. What is known of
 * others' ports is a guess, and the kernel decides: see runner_port.also. Memory only; who calls holds the lock of it. */
#ifndef PLACES_H
#define PLACES_H

#include <stdbool.h>
#include <stdint.h>

#define BRIDGES_MAX  64
#define BRIDGE_PORTS 1023

struct places {
    uint64_t there;             /* which bridges there are: bit 0 is the network's first, and always set */
    unsigned ours[BRIDGES_MAX]; /* ports: of sandboxes, attached or about to be, and of idle TAPs */
    unsigned others[BRIDGES_MAX];
};

static inline bool places_has(uint64_t there, unsigned bridge)
{
    return there >> bridge & 1;
}

/* Ports that are left, of all bridges. */
unsigned places_free(const struct places *p);
/* For one more: the first that has room, or that which has the fewest ports. */
unsigned places_choose(const struct places *p);
/* The same of all but this one; there is no other: -1. */
int places_also(const struct places *p, unsigned bridge);

#endif
