/* What the files of this plugin share: one instance of it. */
#ifndef QEMU_QEMU_H
#define QEMU_QEMU_H

#include <pthread.h>
#include <stdbool.h>

#include "include/runner-plugin.h"

struct qemu_facts { /* found out by accel_choose() */
    bool is_known;
    bool has_kvm;      /* it ran a guest */
    bool is_kvm_roots; /* but only root may open /dev/kvm: a machine that runs as another user is emulated */
    bool has_qboot;    /* boot by qboot, not SeaBIOS */
    int major, minor;  /* of QEMU */
    char version[32];  /* "7.2.22" */
};

struct qemu {
    const struct runner_host *host;
    /* Parameters: strings of core's, valid until destroy(). */
    const char *binary, *accel, *firmware, *cpu; /* cpu: NULL for the default */
    const char *probe_kernel, *probe_initramfs;  /* NULL: those of a snapshot */
    int64_t tb_size_bytes;
    pthread_mutex_t lock; /* guards facts; held for a copy, never across a call of the host */
    struct qemu_facts facts;
};

#endif
