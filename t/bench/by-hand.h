/*
 * The reference of the bench: machines made by hand, by a small resident program that is asked for each over a unix
 * socket, as the runner is, knows everything beforehand and needs to undo nothing. On the host it does what the runner
 * does there: folder, disk, seed, users, cgroup, TAP, locked pid file, a filter of the VMM's calls. It has one thread,
 * and does without HTTP and JSON, the choice of an address, the bridge's rules (nftables, twice), looks for what was
 * there before, the fifo of events, and a clean environment, umask and signals for the VMM.
 */
#ifndef BENCH_BY_HAND_H
#define BENCH_BY_HAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#define HAND_EXTENTS_MAX 16

struct hand_file { /* what a file of each machine consists of; zeros between its extents are holes */
    char *data;
    size_t size;
    struct {
        size_t at, len;
    } extents[HAND_EXTENTS_MAX];
    size_t n_extents;
};

struct hand {                            /* what all machines have in common, from the command line */
    const char *dir;                     /* each has a folder below, its number */
    struct hand_file disk, seed, record; /* record: written first and, durably, last; size 0: none */
    uint32_t uid;                        /* 0: as this program */
    const char *cgroup;                  /* a directory; NULL: none */
    const char *tap, *bridge;            /* NULL: none */
    const char *config, *nic;            /* Cloud Hypervisor: bodies of vm.create and vm.add-net; NULL: another VMM */
    char **argv;
};

struct machine {
    const struct hand *hand;
    int number, port; /* port: of its daemon; 0: ready is the first byte on the serial console */
    char dir[256], mac[18];
    int at;                     /* the folder */
    struct sockaddr_un address; /* of what the VMM listens at */
    int api, events, log;       /* what the VMM gets: a socket that listens, a descriptor to write, its output */
    int serial;                 /* QEMU: its serial log; else -1 */
    int tap, inotify;
    pid_t pid;
    int pidfd, pid_file;
};

int64_t hand_now_us(void);
void hand_die(const char *what) __attribute__((noreturn)); /* says errno */
/* text with @DIR@, @MAC@ and @PORT@ of this machine; the caller frees. */
char *hand_words(const struct machine *m, const char *text);

/* by-hand-host.c, in the order of a start: */
void hand_make_folder(struct machine *m);
void hand_open_socket(struct machine *m);
void hand_make_disks(struct machine *m);
void hand_make_tap(struct machine *m);
void hand_start(struct machine *m);
void hand_commit(struct machine *m);

/* by-hand-vmm.c */
void hand_boot_ch(struct machine *m);
void hand_await_qemu(struct machine *m);
void hand_watch_serial(struct machine *m);
/* False: the VMM ended, or nothing was heard. */
bool hand_wait_ready(const struct machine *m);

#endif
