/* Scope-bound resources: auto_x runs x's destructor when the variable leaves its scope; errno survives. */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* A handler for a pointer type: name(T **), which calls destroy(*p) unless it is NULL. */
#define CLEANUP_DEFINE(name, type, destroy)                                                                            \
    static inline void name(type **p)                                                                                  \
    {                                                                                                                  \
        int saved_errno = errno;                                                                                       \
        if (*p != NULL)                                                                                                \
            destroy(*p);                                                                                               \
        errno = saved_errno;                                                                                           \
    }

static inline void cleanup_free(void *p)
{
    int saved_errno = errno;
    free(*(void **)p);
    errno = saved_errno;
}

static inline void cleanup_close(int *fd)
{
    int saved_errno = errno;
    if (*fd >= 0)
        close(*fd);
    errno = saved_errno;
}

CLEANUP_DEFINE(cleanup_fclose, FILE, fclose)
CLEANUP_DEFINE(cleanup_closedir, DIR, closedir)

#define auto_free   CLEANUP(cleanup_free)
#define auto_close  CLEANUP(cleanup_close)
#define auto_fclose CLEANUP(cleanup_fclose)
#define auto_dir    CLEANUP(cleanup_closedir)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
