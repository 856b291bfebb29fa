/* Parameter values by name, as create() gets them. */
#ifndef VMM_COMMON_VALUES_H
#define VMM_COMMON_VALUES_H

#include <string.h>

#include "include/runner-plugin.h"

/* NULL: there is none. */
static inline const struct runner_value *value_get(const struct runner_value *values, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(values[i].name, name) == 0)
            return &values[i];
    return NULL;
}

static inline const char *value_text(const struct runner_value *values, size_t n, const char *name, const char *dflt)
{
    const struct runner_value *value = value_get(values, n, name);

    return value != NULL && value->text != NULL ? value->text : dflt;
}

static inline int64_t value_number(const struct runner_value *values, size_t n, const char *name, int64_t dflt)
{
    const struct runner_value *value = value_get(values, n, name);

    return value != NULL ? value->number : dflt;
}

#endif
