/* Sets of IPv4 addresses, as ranges. Leaf code. */
#ifndef RANGES_H
#define RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
    uint32_t first, last; /* host order, both within */
};

struct ranges { /* sorted, with a gap between any two, once ranges_tidy() was called */
    struct range *list;
    size_t n;
};

void ranges_done(struct ranges *r);
/* "10.0.0.0/8", or an address alone; its host part may be anything. */
bool ranges_parse(const char *text, struct range *ret);
void ranges_add(struct ranges *r, struct range range);
void ranges_tidy(struct ranges *r);
/* Both tidy before and after. */
void ranges_subtract(struct ranges *from, const struct ranges *what);

/* The largest network that begins at r->first and is within it: its prefix length; r is what is left of it. False: that
 * was all. */
bool ranges_next_network(struct range *r, unsigned *ret_prefix);

#endif
