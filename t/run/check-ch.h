/* A Cloud Hypervisor, real or fake, under test: its process, its API socket, its events. */
#ifndef CHECK_CH_H
#define CHECK_CH_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/util/str.h"

#define CHECK_MS 60000 /* how long anything may take that is waited for, on the slowest machine */

struct vmm {
    pid_t pid; /* 0: none */
    int api, events;
    struct str told; /* events that were not looked at yet, as source.name lines */
    struct str raw;  /* what came of them and is no whole one yet */
};

/* Starts it in the current directory, API at ch.sock, and connects. words: more of its command line, NULL-terminated.
 * preload: NULL, or a library before its own. false: it ended, or does not answer. */
bool vmm_start(struct vmm *v, const char *program, char *const *words, const char *preload);
/* The wait status, -1 when it does not end in time; then it is killed. */
int vmm_wait(struct vmm *v);
void vmm_kill(struct vmm *v);

/* Sends bytes, with n descriptors; false when the peer is gone. */
bool vmm_send(const struct vmm *v, const char *data, size_t len, const int *fds, int n);
/* One reply: its status, body appended; -1: none came in time, 0: the peer closed. */
int vmm_reply(const struct vmm *v, struct str *head, struct str *body);
/* Appends what is there to read within ms; false: nothing came, or the peer closed. */
bool vmm_read(const struct vmm *v, int ms, struct str *ret);
/* What there is to read until nothing comes for quiet_ms, or the peer closes. */
void vmm_read_all(const struct vmm *v, int quiet_ms, struct str *ret);
/* Moves what the event monitor says into told; waits up to ms for more when there is nothing. */
void vmm_hear(struct vmm *v, int ms);
bool vmm_reconnect(struct vmm *v);

#endif
