/* What the files of this plugin share: one instance of it. */
#ifndef CH_CLOUD_HYPERVISOR_H
#define CH_CLOUD_HYPERVISOR_H

#include <pthread.h>
#include <stdbool.h>

#include "include/runner-plugin.h"

/* How it is called in messages. */
#define CH_NAME "Cloud Hypervisor"

#define CH_BUCKETS 1024 /* a host has a thousand machines */

struct client_idle;

struct ch_facts { /* found out by check_choose() */
    bool is_known;
    bool has_landlock; /* this kernel has what Cloud Hypervisor's rules need */
    int major, minor;
    char version[32]; /* "v53.0" */
};

struct ch {
    const struct runner_host *host;
    /* Parameters: strings of core's, valid until destroy(). */
    const char *binary, *landlock, *seccomp, *probe, *log;
    const char *probe_kernel, *probe_initramfs; /* NULL: those of a snapshot */
    uint32_t probe_uid;                         /* 0: the runner's own */
    bool nested, hotplug, balloon, watchdog;
    int64_t boot_timeout_ms, probe_timeout_ms;
    /* Guards what follows; held for some lines, never across a call of the host. */
    pthread_mutex_t lock;
    struct ch_facts facts;
    struct client_idle *idle[CH_BUCKETS]; /* by machine, see client.h */
    size_t n_idle;
};

/* Files in a machine's own directory; the caller frees. */
char *ch_vsock_path(const struct runner_vm *vm);
char *ch_events_path(const struct runner_vm *vm);

/* Of its cgroup, bytes. */
uint64_t ch_memory_limit(const struct runner_vm *vm);

#endif
