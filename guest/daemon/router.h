/* Which route a request takes. */
#ifndef GUEST_ROUTER_H
#define GUEST_ROUTER_H

#include "guest/daemon/server.h"

/* The first route whose method and pattern match; args and rest of the exchange are filled. NULL when none does. */
const struct route *router_match(struct exchange *x, const struct route *routes, size_t n_routes);

#endif
