/* Kernel modules of the initramfs. */
#ifndef GUEST_MODULE_H
#define GUEST_MODULE_H

#include "core/util/error.h"

/* Loads the modules that the file lists, one path a line, in order. One that fails is named on stderr and the rest go
 * on; a missing list is no error (a kernel with everything built in). */
void module_load_list(const char *path);

#endif
