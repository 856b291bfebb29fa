/* What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/util/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A claim about the code that no input may break. */
static inline void need(bool claim)
{
    if (!claim)
        abort();
}

/* What was refused says why. */
static inline void need_reason(const struct runner_error *err)
{
    need(err->code != 0 && err->message[0] != '\0');
}

#endif
