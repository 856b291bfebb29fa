/* A host table by which a VMM plugin talks to a peer that says given bytes, whatever it is asked, and then no more. */
#ifndef FUZZ_PEER_H
#define FUZZ_PEER_H

#include <stddef.h>
#include <stdint.h>

#include "include/runner-plugin.h"

extern const struct runner_host peer_host;

/* Sets what the next connection hears; a second one finds nobody. Closed by peer_done(). */
void peer_says(const uint8_t *data, size_t size);
void peer_done(void);

#endif
