/*
 * `runner-ch doctor`: says for the runner and each of its hosts what works, and which command mends what does not.
 *
 * The look at a host is steps in batches, carried out by its transport, and the plugins' own diagnose() or check(): core
 * knows kinds of plugins, and what any Linux host has. One thread; nothing that lasts is changed.
 */
#ifndef CORE_DOCTOR_H
#define CORE_DOCTOR_H

#include <stdbool.h>

#include "core/config.h"
#include "core/util/finding.h"

struct host;

struct doctor_options {
    const struct config_options *load;
    const char *host; /* look at this one only; NULL: at all */
    bool as_json;
};

/* The whole command: 0: nothing FAILs; 1: something does; 2: the options are wrong. Prints. */
int doctor_main(const struct doctor_options *options);

/* ---- private to doctor*.c ---- */

struct doctor_note {  /* a finding kept */
    const char *host; /* NULL: the runner itself; the configuration's */
    uint32_t level;
    char *part; /* "runner", "host", "vmm/qemu" */
    char *topic, *text, *fix;
};

struct doctor {
    const struct doctor_options *options;
    const char *host, *part; /* what is looked at now */
    struct doctor_note *notes;
    size_t n, n_printed;
    size_t n_levels[RUNNER_FINDING_SKIP + 1];
    unsigned columns; /* of the terminal; 0: there is none */
    bool has_progress;
};

/* One look at a host. */
struct look {
    struct host *host;
    struct runner_call *call;
    struct finding_sink to;
};

/* doctor-print.c: shows what is new, or at the end all of it as JSON. */
void doctor_print_begin(struct doctor *d);
void doctor_print_head(struct doctor *d, const char *title);
void doctor_print_new(struct doctor *d);
void doctor_print_end(struct doctor *d);
/* What is being done, on a terminal and until something is printed. */
void doctor_progress(struct doctor *d);

/* doctor-runner.c: addresses to listen on, time-outs. */
void doctor_runner(const struct config *config, const struct finding_sink *to);
/* doctor-kernel.c: what the host's kernel and processors can do. */
void doctor_kernel(const struct look *look);
/* doctor-files.c: root and run_dir, sharing of blocks, room, snapshots, the guest's daemon. */
void doctor_files(const struct look *look);
/* doctor-capacity.c: how many sandboxes the host has room for. */
void doctor_capacity(const struct look *look);
/* doctor-sandboxes.c: how many sandboxes there are, and whose. */
void doctor_sandboxes(const struct look *look);
/* doctor-process.c: a process as a VMM's is: its user, its cgroup, /dev/kvm. */
void doctor_process(const struct look *look);

#endif
