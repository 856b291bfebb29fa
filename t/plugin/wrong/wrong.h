/*
 * What the wrong plugins share. Each object is a plugin of one kind that is right but for one defect, which its file's
 * name says: copied to leaks-memory.so it is the plugin "leaks-memory", which leaks memory; right.so has no defect.
 * They need runner-plugin.h alone, as third parties' do.
 */
#ifndef WRONG_H
#define WRONG_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/runner-plugin.h"

static const struct runner_host *host;
static char defect[64]; /* also the plugin's name */

static inline int load(const struct runner_host *services, struct runner_error *err)
{
    (void)err;
    host = services;
    return 0;
}

static inline bool is_wrong(const char *which)
{
    return strcmp(defect, which) == 0;
}

static inline int refuse(struct runner_error *err, int code, const char *message)
{
    err->code = code;
    (void)snprintf(err->message, sizeof err->message, "%s", message);
    return -1;
}

static inline char *host_text(const char *text) /* NULL when out of memory */
{
    size_t size = strlen(text) + 1;
    char *copy = host->alloc(size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

/* The name out of <dir>/<name>.so, before the descriptor is given out. */
static inline void find_defect(const void *in_object)
{
    Dl_info info;
    const char *slash;

    if (dladdr(in_object, &info) == 0 || (slash = strrchr(info.dli_fname, '/')) == NULL)
        return;
    (void)snprintf(defect, sizeof defect, "%.*s", (int)strcspn(slash + 1, "."), slash + 1);
}

/* As RUNNER_PLUGIN(), of a descriptor that is not constant. */
#define WRONG_PLUGIN(desc, prepare)                                                                                    \
    __attribute__((visibility("default"))) const struct runner_plugin *runner_plugin_1(void);                          \
    const struct runner_plugin *runner_plugin_1(void)                                                                  \
    {                                                                                                                  \
        find_defect(&(desc));                                                                                          \
        (desc).name = defect;                                                                                          \
        prepare;                                                                                                       \
        return &(desc);                                                                                                \
    }

#endif
