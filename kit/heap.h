/* How much of the heap is in use, whoever asked for it. */
#ifndef KIT_HEAP_H
#define KIT_HEAP_H

#include <stdint.h>

/* Blocks, counted exactly; where a sanitizer has malloc's place, bytes as it says. */
int64_t heap_in_use(void);
const char *heap_unit(void); /* "blocks" */

#endif
