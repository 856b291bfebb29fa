/*
 * What the steps of one batch leave for those behind them, as most are about the files of one new directory: what is open,
 * and what can be in that directory.
 */
#ifndef KEPT_H
#define KEPT_H

#include "plugins/transport/local/local.h"

#define KEPT_MADE_MAX 32

struct kept {
    int dir, file;        /* -1: none */
    const char *dir_path; /* of a step, as is file_path; dir_len bytes of it, without a slash at the end */
    size_t dir_len;
    const char *file_path; /* what a step of the batch made, open for reading and writing */
    const char *new_dir;   /* made by a step of the batch; nothing is in it but what its steps made. NULL: none such */
    const char *made[KEPT_MADE_MAX]; /* where that may be */
    size_t n_made;
};
#define KEPT_INIT                                                                                                      \
    {                                                                                                                  \
        .dir = -1, .file = -1                                                                                          \
    }

/* Before a step runs: what may not be what its path says any more, or be in its way, is closed. */
void kept_prepare(struct kept *k, const struct runner_step *step);
/* Behind it. */
void kept_note(struct kept *k, const struct runner_step *step);
void kept_done(struct kept *k);
#define auto_kept CLEANUP(kept_done)

/* Where the path is: a directory and a name in it, for the ...at() calls. Where its directory is not open: AT_FDCWD and
 * the whole path. k may be NULL here and below. */
int kept_at(const struct kept *k, const char *path, const char **ret_name);
/* Takes fd over: the directory of which path has the first len bytes. Without k: false, and it stays the caller's. */
bool kept_take_dir(struct kept *k, int fd, const char *path, size_t len);
/* Takes fd over; without k it is closed. */
void kept_take_file(struct kept *k, int fd, const char *path);
/* The file of this path, or -1. It stays open. */
int kept_file(const struct kept *k, const char *path);

/* A step made this directory, into which nobody else can put anything. */
void kept_take_new(struct kept *k, const char *path);
/* There can be nothing at this path: it need not be looked. */
bool kept_lacks(const struct kept *k, const char *path);

#endif
