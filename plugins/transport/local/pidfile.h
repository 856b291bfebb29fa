/* The pid file of a spawned process: its lock says that the process lives. */
#ifndef PIDFILE_H
#define PIDFILE_H

#include "plugins/transport/local/local.h"

#define PIDFILE_FD 64 /* the descriptor by which a spawned process holds its pid file, and the lock on it */

struct pidfile {
    int lock;   /* for reading only, as the process gets it, whose word about its own number shall not count */
    int writer; /* for who writes that number */
};

/* Opens (0600), locks and empties it. BUSY when a process holds the lock. Closing `lock`, once no process has a copy,
 * unlocks. */
int pidfile_lock(const struct act *a, const char *path, struct pidfile *ret, struct runner_error *err);

/* Writes it for a process that no SPAWN started: there is no lock, so the time of its start tells it from a later one
 * with its number. INVALID: it has ended. */
int pidfile_adopt(const char *path, pid_t pid, struct runner_error *err);

/* The process that holds the lock, or was adopted: 0 and a pidfd for the caller to close; 1 when there is none; -1. */
int pidfile_find(struct local *self, const char *path, pid_t *ret_pid, int *ret_pidfd, struct runner_error *err);

#endif
