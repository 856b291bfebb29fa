/* Single looks at a host, for doctor: one step, one answer. Each is a round trip of its own, so that one which fails hides
 * no other. Only the host's transport touches the host. */
#ifndef CORE_LOOK_H
#define CORE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "include/runner-plugin.h"

#define LOOK_RUN_MS 10000

/* The text of a file, at most max bytes of it; the caller frees. NULL: absent, or it cannot be read. */
char *look_read(struct runner_call *call, const char *path, int64_t max);
/* False too where one may not look. */
bool look_is_there(struct runner_call *call, const char *path);
/* How many names are in a directory; 0: none, or no directory. */
size_t look_count(struct runner_call *call, const char *path);
/* Exit status, or -1 with err: it could not be run. ret_out may be NULL, else the caller frees. */
int look_run(struct runner_call *call, const char *const *argv, char **ret_out, struct runner_error *err);
/* As another user, with its group of the same number. */
int look_run_as(struct runner_call *call, uint32_t uid, const char *const *argv);
/* Name of the user that the transport works as, or "USER"; the caller frees. */
char *look_user(struct runner_call *call);
/* The directory itself, or the nearest one above it that is there; the caller frees. */
char *look_nearest(struct runner_call *call, const char *dir);

#endif
