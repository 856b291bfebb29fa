/*
 * malloc and its kin stand before the C library's, which does the work: a plugin's calls come here too, since the
 * program's symbols are found first. mallinfo2() would not do: what a thread keeps for itself counts as used there.
 */
#include "kit/heap.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

size_t __sanitizer_get_current_allocated_bytes(void);

int64_t heap_in_use(void)
{
    return (int64_t)__sanitizer_get_current_allocated_bytes();
}

const char *heap_unit(void)
{
    return "bytes";
}

#else

#define EXPORTED __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static atomic_llong n_blocks;

static void *counted(void *p)
{
    n_blocks += p != NULL;
    return p;
}

EXPORTED void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

EXPORTED void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}

EXPORTED void *realloc(void *p, size_t size)
{
    void *moved = __libc_realloc(p, size);

    if (p == NULL)
        return counted(moved);
    n_blocks -= moved == NULL && size == 0; /* which frees it */
    return moved;
}

EXPORTED void free(void *p)
{
    n_blocks -= p != NULL;
    __libc_free(p);
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size));
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORTED int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *p = memalign(alignment, size);

    if (p == NULL)
        return ENOMEM;
    *ret = p;
    return 0;
}

int64_t heap_in_use(void)
{
    return n_blocks;
}

const char *heap_unit(void)
{
    return "blocks";
}

#endif
