/*
 * A configured host: its plugin instances and the calls into them. Built once by the main thread; the instances are used
 * by any worker; a plugin's thread class is kept here, by letting callers through one at a time where it asks for that.
 */
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <pthread.h>
#include <stdbool.h>

#include "core/call.h"
#include "core/config.h"

struct gate;

struct host {
    const struct config_host *config;
    void *self[LOADER_KINDS + 1];         /* instances by kind; NULL: none */
    struct gate *gates[LOADER_KINDS + 1]; /* NULL: RUNNER_PARALLEL */

    pthread_mutex_t mutex; /* guards the members below */
    pthread_cond_t changed;
    bool is_up;                              /* set up and its records read: operations may begin */
    int64_t up_us;                           /* when that was; constant from then on */
    char *problem;                           /* why it is not up, or NULL */
    char *vmm_text;                          /* what the vmm says of itself, once known */
    char *service_problem[LOADER_KINDS + 1]; /* of the last check, NULL: fine */
};

/* Makes the instances; touches no host. */
int host_new(const struct config_host *config, struct host **ret, struct runner_error *err);
void host_free(struct host *host); /* takes NULL */
CLEANUP_DEFINE(cleanup_host, struct host, host_free)
#define auto_host CLEANUP(cleanup_host)

/* Runs check() of each plugin; problems are kept in service_problem and appended, a line each, to ret_problems (may be
 * NULL). Returns how many there are. Blocks. */
int host_check(struct host *host, struct runner_call *call, struct str *ret_problems);

/* The host is usable from now on, or is not because of problem. */
void host_set_up(struct host *host, const char *problem);
/* Waits until host_set_up(): 0, or -1 with UNREACHABLE and the problem. */
int host_wait_up(struct host *host, struct runner_call *call, struct runner_error *err);

/* Paths; the caller frees. id and name are validated before. */
char *host_sandbox_dir(const struct host *host, const char *id);
char *host_sandbox_path(const struct host *host, const char *id, const char *file);
char *host_socket_path(const struct host *host, const char *id);

/* ---- calls into the plugins; see runner-plugin.h for what each does ---- */

int host_run(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err);
int host_dial(struct host *host, struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err);
int host_watch(struct host *host, struct runner_call *call, const char *pid_path, int *ret_fd,
               struct runner_error *err);

const struct plugin *host_plugin(const struct host *host, uint32_t kind); /* NULL: none */
/* Around any call of an operation: HOST_CALL(host, RUNNER_DISK, disk.clone(self, ...)) below does it. */
void host_enter(struct host *host, uint32_t kind);
void host_leave(struct host *host, uint32_t kind);

/* An int-returning operation of the host's plugin of that kind: HOST_CALL(h, RUNNER_DISK, disk, clone, call, ...). */
#define HOST_CALL(on, kind, member, op, ...)                                                                           \
    __extension__({                                                                                                    \
        struct host *host_ = (on);                                                                                     \
        int status_;                                                                                                   \
        host_enter(host_, (kind));                                                                                     \
        status_ = host_plugin(host_, (kind))->ops.member.op(host_->self[kind], __VA_ARGS__);                           \
        host_leave(host_, (kind));                                                                                     \
        status_;                                                                                                       \
    })

/* The table given to every plugin's load(). */
const struct runner_host *host_services(void);

#endif
