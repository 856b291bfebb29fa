/* What the file handlers share. */
#ifndef GUEST_FILE_H
#define GUEST_FILE_H

#include <sys/types.h>

#include "core/util/error.h"

/* Makes the directories above path that are missing. */
int file_make_parents(const char *path, mode_t mode, struct runner_error *err);

#endif
