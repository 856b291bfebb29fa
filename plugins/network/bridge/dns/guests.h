/* Who may ask, and how much at once: so many questions a second of each guest, so many in work. One thread. */
#ifndef DNS_GUESTS_H
#define DNS_GUESTS_H

#include <stdbool.h>
#include <stdint.h>

#define GUESTS_PREFIX_MIN 8 /* of a network: there is room for each of its addresses, untouched until it asks */

struct guests;

/* network: in host order. NULL: no memory. */
struct guests *guests_new(uint32_t network, unsigned prefix);
void guests_free(struct guests *guests); /* takes NULL */

/* address: in host order, here as below. Whether it may ask now: it counts as one question in work then, until
 * guests_end(). */
bool guests_begin(struct guests *guests, uint32_t address, int64_t now_us);
void guests_end(struct guests *guests, uint32_t address);
/* Whether it may have one more connection, which counts until guests_disconnect(). */
bool guests_connect(struct guests *guests, uint32_t address);
void guests_disconnect(struct guests *guests, uint32_t address);

#endif
