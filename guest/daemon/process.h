/* Child processes: start, watch, kill. One thread; SIGCHLD is taken by the event loop. */
#ifndef GUEST_PROCESS_H
#define GUEST_PROCESS_H

#include <event2/event.h>
#include <sys/types.h>

#include "core/util/json.h"

struct process_spec {
    const char *const *argv; /* argv[0] is a path */
    const char *cwd;         /* NULL: the daemon's */
    const struct json *env;  /* object of texts in addition to the daemon's environment, or NULL */
    int fds[4];              /* what becomes 0, 1, 2 and 3; -1: /dev/null, for 3: nothing */
};

/* code: of exit, or 128 + signal. Called once, from the loop, unless the process was forgotten. */
typedef void process_exit_fn(void *arg, int code);

struct process;

/* Once, before the first start. */
int process_init(struct event_base *base, struct runner_error *err);
void process_done(void);

/* Starts it as leader of a session of its own. NOTFOUND/INVALID/... with the cause. */
int process_start(const struct process_spec *spec, process_exit_fn *on_exit, void *arg, struct process **ret,
                  struct runner_error *err);
/* Watches a child that was forked elsewhere. */
struct process *process_watch(pid_t pid, process_exit_fn *on_exit, void *arg);
/* Signals the whole process group. */
void process_kill(struct process *p, int signal);
/* No callback any more; it is still reaped. Takes NULL. */
void process_forget(struct process *p);

/* The shell that runs command lines: $SHELL when it is a Bourne shell, else bash or sh. */
const char *process_shell(void);

/* Reads and drops until the writers are gone, so that a process left behind does not die of SIGPIPE. Takes the
 * descriptor. */
void process_drain(struct event_base *base, int fd);

#endif
