/* Memory at the end of a page behind which nothing may be touched. */
#ifndef KIT_GUARD_H
#define KIT_GUARD_H

#include <stddef.h>

#include "kit/op.h"

/*
 * A copy of the structure, whose first member is its uint32_t size, in the layout that an older or a later core has.
 * today: sizeof; oldest: bytes of API 1.0. TODAY, OLDEST: so many bytes, and then a page that kills who touches it.
 * FUTURE: 64 bytes more than today, which must stay as they are: guard_take() looks. Until the next guard_reset().
 */
void *guard_put(enum layout layout, const void *data, size_t today, size_t oldest);
/* What the plugin made of it, copied back (size is set to today's again); false: bytes that are not its own changed. */
bool guard_take(const void *kept, void *ret_data, size_t today);
void guard_reset(void);

#endif
