/* Names that are due later: a list by time with a descriptor that becomes readable when the first is due. Any thread.
 * */
#ifndef CORE_LATER_H
#define CORE_LATER_H

#include <stdint.h>

struct later;

struct later *later_new(void);        /* NULL: out of descriptors */
void later_free(struct later *later); /* takes NULL */
int later_fd(const struct later *later);
void later_add(struct later *later, const char *name, int64_t in_ms);
/* The next one that is due, off the list, which the caller frees; or NULL. */
char *later_take(struct later *later);

#endif
