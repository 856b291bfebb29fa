/* Guests write to their serial console as much as they like, and their VMMs complain of them: all but the end of a long
 * log is given back. */
#ifndef CORE_TRIM_H
#define CORE_TRIM_H

#include "core/engine.h"

#define TRIM_EVERY_MS 10000

/* Has a worker look through the logs, unless one does already. Any thread. */
void trim_start(struct engine *engine);

#endif
