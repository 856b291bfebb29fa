/* Inside of transport/local: what its files share. A call runs on any thread; `struct local` guards itself. */
#ifndef LOCAL_H
#define LOCAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/util/error.h"
#include "core/util/str.h"

extern const struct runner_host *local_host; /* set by load(), before any thread */

struct child;   /* child.c */
struct spawn;   /* spawn.c */
struct held;    /* tap.c */
struct grave;   /* grave.h */
struct cgroups; /* cgroup.h */
struct kept;    /* kept.h */
struct run;     /* run.c */
#define CHILD_BUCKETS    512
#define INOTIFY_IDLE_MAX 32

struct local {            /* one instance */
    pthread_mutex_t lock; /* children, idle_inotify, held, and the taking and testing of locks on pid files */
    int epoll_fd;         /* readable when a child of ours has ended */
    bool is_root;         /* may give files and processes to other users */
    struct child *children[CHILD_BUCKETS]; /* by pid file */
    struct child *oldest_ended, *newest_ended;
    size_t n_ended;
    struct cgroups *cgroups;            /* guard themselves */
    int idle_inotify[INOTIFY_IDLE_MAX]; /* without watches, see growth.c */
    size_t n_idle_inotify;
    pthread_mutex_t netfilter_lock; /* the socket, while a step speaks by it */
    int netfilter_fd;               /* -1: none yet */
    atomic_bool conntrack_is_old;   /* it deletes one connection at a time, see conntrack.c */
    struct held *held;   /* TAPs that wait to be dialled */
    struct grave *grave; /* guards itself */
};

struct act { /* one run(), watch() or dial() */
    struct local *self;
    struct runner_call *call;
    struct kept *kept; /* of its batch; NULL: nothing is kept */
    bool is_undo; /* not cancelled: what was done is to be taken back whatever happens */
    struct spawn **begun; /* where a process on its way is kept for spawn_end(); NULL: it is waited for at once */
};

/* As host->wait; while undoing neither cancel nor deadline ends it, but ms -1 means UNDO_MS. */
int act_wait(const struct act *a, int fd, short events, int64_t ms);
/* 0, or -1 with err filled when the operation is cancelled or past its deadline. */
int act_check(const struct act *a, struct runner_error *err);
/* Gives the step's output to the result: a copy of data from host->alloc. */
int act_output(struct runner_result *result, const void *data, size_t len, struct runner_error *err);

typedef int step_fn(const struct act *a, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err);

/* command.c */
step_fn command_run;
/* spawn.c */
step_fn spawn_run;
/* Waits until the process that was begun, if one was, runs its program, and fills the step's result. */
int spawn_end(const struct act *a, struct runner_error *err);
/* cgroup.c */
step_fn cgroup_del, cgroup_set;
/* proc.c */
step_fn proc_kill, proc_alive;
/* 0: it runs, and ret_pidfd is the caller's; 1: it has ended, ret_status as waitpid(2) or -1; -1. */
int proc_find(struct local *self, const char *pid_path, pid_t *ret_pid, int *ret_pidfd, int *ret_status,
              struct runner_error *err);
int proc_watch(const struct act *a, const char *pid_path, int *ret_fd, struct runner_error *err);
/* adopt.c */
step_fn adopt_run;
/* file.c */
step_fn file_mkdir, file_write, file_patch, file_read, file_grow, file_rename, file_stat, file_list, file_statfs;
/* own.c */
step_fn own_run;
/* growth.c */
step_fn growth_run;
void growth_free_all(struct local *self);
/* tree.c */
step_fn tree_remove;
/* copy.c */
step_fn copy_clone;
/* tap.c */
step_fn tap_add, tap_del;
/* A queue of the TAP of this name, which must be there. */
int tap_dial(struct local *self, const char *name, int *ret_fd, struct runner_error *err);
void tap_free_all(struct local *self);
/* messages.c */
step_fn messages_run;
/* Whole messages, as of a NETLINK step; what comes in reply is added to ret_out, which may be NULL. self NULL: in the network
 * namespace of the thread, whichever that is. */
int messages_exchange(struct local *self, int protocol, const void *data, size_t len, struct str *ret_out,
                      struct runner_error *err);
/* conntrack.c */
step_fn conntrack_del;
/* dial.c */
int dial_address(const struct act *a, const char *address, int *ret_fd, struct runner_error *err);

/* diagnose.c: runner_plugin.diagnose */
int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err);

/* run.c: carries the steps out, undoing in reverse when one fails. */
int run_steps(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_result *results,
              struct runner_error *err);
/* The same in two parts, as runner_transport_ops has it: *ret is run_end()'s. */
int run_begin(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_result *results,
              struct run **ret, struct runner_error *err);
int run_end(const struct act *a, struct run *run, const struct runner_step *const *steps, size_t n,
            struct runner_result *results, struct runner_error *err);

#endif
