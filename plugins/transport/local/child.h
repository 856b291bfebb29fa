/* The processes that this instance spawned: their wait status, and no zombies. Any thread. */
#ifndef CHILD_H
#define CHILD_H

#include "plugins/transport/local/local.h"

/* Takes pidfd over. An older one of the same pid file is forgotten. */
void child_add(struct local *self, const char *pid_path, pid_t pid, int pidfd);
/* Reaps those that have ended; never blocks. */
void child_reap(struct local *self);
enum child_state { CHILD_UNKNOWN, CHILD_RUNS, CHILD_ENDED };
/* What is known of the last process of that pid file, when it is a child of ours. ret_status, when it has ended: its
 * wait status, or -1. ret_pidfd (may be NULL), while it runs: a copy for the caller to close. */
enum child_state child_find(struct local *self, const char *pid_path, pid_t *ret_pid, int *ret_status, int *ret_pidfd);
/* Nothing is known of that pid file any more. */
void child_forget(struct local *self, const char *pid_path);
void child_free_all(struct local *self);

#endif
