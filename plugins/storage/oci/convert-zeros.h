/* Large arrays of zeros: memory is used where they are written, so they can be as large as they may ever get. */
#ifndef OCI_CONVERT_ZEROS_H
#define OCI_CONVERT_ZEROS_H

#include <stddef.h>
#include <sys/mman.h>

/* NULL: errno says why. */
static inline void *zeros_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

/* Takes NULL. */
static inline void zeros_unmap(void *p, size_t size)
{
    if (p != NULL)
        munmap(p, size);
}

#endif
