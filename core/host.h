/*
 * A configured host: its plugin instances and the calls into them. Built once by the main thread; the instances are used
 * by any worker.
 */
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/call.h"
#include "core/capacity.h"
#include "core/config.h"
#include "core/instance.h"
#include "core/usage.h"
#include "core/uids.h"

struct figures {        /* of a host; what was never read is 0 */
    struct amounts has; /* CPUs that are online; memory but for huge pages, which no VM here uses; the file system */
    int64_t memory_free, disk_free; /* bytes that anybody may still have */
    double load;                    /* average of 15 minutes */
    struct cpu_look look;
    double cpu_percent; /* of all processors, how busy they were in the last minutes; a single look does not tell */
};

/* For /metrics: how often what the network made was found missing, and how often it was made again, or could not be. */
struct mends {
    atomic_ulong lost, mended, failed;
};

struct images;

struct host {
    const struct config_host *config;
    struct instance *instances[LOADER_KINDS + 1]; /* by kind; NULL: none */
    struct uids *uids;                            /* NULL: the VMMs run as the runner's user */
    struct images *images;                        /* core/images/; from the start of serving on, not host_free()'s */
    struct capacity capacity;                     /* guarded by the index's lock, as the next */
    size_t n_unread;                              /* of its sandboxes, see sandbox.h */

    pthread_mutex_t mutex; /* guards the members below, and what instance.h says */
    pthread_cond_t changed;
    bool is_up;        /* set up and its records read: operations may begin */
    int64_t up_us;     /* when that was; constant from then on */
    char *problem;     /* why it is not up, or NULL */
    char *uid_problem; /* why no uid can be used, or NULL */
    struct cpu_usage cpu_usage;
    struct figures figures; /* of the last look that succeeded */
    unsigned looks_failed;  /* since then ... */
    char *look_problem;     /* ... and why; NULL: none did */
    bool is_tried;          /* host_check() has ended: the plugins' checks are checkup.c's from now on */
    struct runner_call *checking; /* those that run, or NULL; and when they began, when they begin again */
    int64_t check_begun_ms, check_at_ms;
    int64_t down_ms;              /* of the last time that it did not come up, until it was tried again */

    struct mends mends;
    bool is_network_lost; /* and was neither made again nor found well since; the check's that runs */
};

/* Makes the instances; touches no host. */
int host_new(const struct config_host *config, struct host **ret, struct runner_error *err);
void host_free(struct host *host); /* takes NULL */
CLEANUP_DEFINE(cleanup_host, struct host, host_free)
#define auto_host CLEANUP(cleanup_host)

/* Runs check() of each instance, of all candidates; problems are kept there and, of a kind of which none passes, appended
 * to ret_problems, a line each, or logged when that is NULL. Returns how many there are. Blocks. */
int host_check(struct host *host, struct runner_call *call, struct str *ret_problems);

/* The same later on. One that failed is tried again before it is believed: true, there is one of which that is so. */
bool host_check_again(struct host *host, struct runner_call *call);
/* Whether the last check of its network found something wrong. Any thread. */
bool host_is_network_ill(struct host *host);

/* The host is usable from now on, or is not because of problem: then checkup.c tries again, by and by. */
void host_set_up(struct host *host, const char *problem);
/* It is not, and is tried again: until host_set_up() it is waited for as at first. */
void host_set_coming(struct host *host);
bool host_is_down(struct host *host);
/* Waits until host_set_up(): 0, or -1 with UNREACHABLE and the problem. */
int host_wait_up(struct host *host, struct runner_call *call, struct runner_error *err);

/* The VMM for a machine that needs these capabilities (RUNNER_VMM_CAP_*): the only one, or the first candidate whose
 * check passed, which is waited for. preferred: tried before the others, or NULL. -1: NOTSUP, with what is wrong with
 * each, or TIMEOUT. */
int host_pick_vmm(struct host *host, struct runner_call *call, uint64_t caps, const char *preferred,
                  struct instance **ret, struct runner_error *err);
/* By its plugin's name, as a record has it; NULL as name: the first. NULL: it is not configured any more. */
struct instance *host_vmm(struct host *host, const char *name);
/* What the VMM in use says of itself, or NULL; the caller frees. */
char *host_vmm_text(struct host *host);

/* Whether VMMs run as users of their own; else why not is known to the log. Set when the host comes up. */
bool host_has_uids(struct host *host);
void host_set_uid_problem(struct host *host, const char *problem);

/* Paths; the caller frees. id and name are validated before. */
char *host_sandbox_dir(const struct host *host, const char *id);
char *host_sandbox_path(const struct host *host, const char *id, const char *file);
char *host_socket_path(const struct host *host, const char *id);

/* ---- calls into the plugins; see runner-plugin.h for what each does ---- */

int host_run(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err);
/* Whether its transport can carry a batch out in two parts, and those. */
bool host_can_begin(const struct host *host);
int host_begin(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
               struct runner_result *results, void **ret_begun, struct runner_error *err);
int host_end(struct host *host, struct runner_call *call, void *begun, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err);
int host_dial(struct host *host, struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err);
int host_watch(struct host *host, struct runner_call *call, const char *pid_path, int *ret_fd,
               struct runner_error *err);

const struct plugin *host_plugin(const struct host *host, uint32_t kind); /* NULL: none; vmm: the first candidate */

/* An int-returning operation of the host's plugin of that kind: HOST_CALL(h, RUNNER_DISK, disk, clone, call, ...). A
 * sandbox's VMM is called by INSTANCE_CALL instead. */
#define HOST_CALL(on, kind, member, op, ...) INSTANCE_CALL((on)->instances[kind], member, op, __VA_ARGS__)

/* The table given to every plugin's load(). */
const struct runner_host *host_services(void);

#endif
