/* Starting a program. Any thread. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "plugins/transport/local/local.h"

#define LAUNCH_FDS_MAX    40
#define LAUNCH_GROUPS_MAX 8

struct launch_fd {
    int from, number; /* ours, and the one it becomes; `from` may be any number, also one of the others' */
};

struct launch {
    const char *program; /* a path */
    const char *const *argv, *const *env;
    struct launch_fd fds[LAUNCH_FDS_MAX];
    size_t n_fds;
    int pid_file;      /* the pid is written here before exec; -1: nowhere */
    int cgroup;        /* the directory of the cgroup it starts in; -1: ours */
    uint32_t uid, gid; /* uid not 0: with these groups and no others, without capabilities, for good */
    gid_t groups[LAUNCH_GROUPS_MAX];
    size_t n_groups;
    uint64_t nofile; /* 0: unchanged */
    mode_t umask;
    bool dies_with_us; /* killed when the calling thread ends before it */
    bool dumps_no_core;
};

/* Which signals are ignored, and shall not be by a program. Once, before any thread: what is ignored later (but for SIGPIPE)
 * stays so. */
void launch_load(void);

extern const char *const launch_env[]; /* PATH and LANG=C: nothing of our own environment, which may hold secrets */

/* The path of a program: argv[0] with '/' as it stands, else looked up in our PATH and the system's directories.
 * NOTFOUND names it. The caller frees. */
int launch_find(const char *name, char **ret_path, struct runner_error *err);

/* Whom it runs as: uid, gid and the groups of groups_of, when we may. Root's group is given to nobody: it opens more
 * than the file it was found at. */
int launch_as(struct launch *l, const struct local *self, const struct runner_spawn *how, struct runner_error *err);

/* A descriptor that reads so many bytes of data, or /dev/null without any; the caller's to close. A memory file needs no
 * feeding, and can be opened again as /dev/stdin. */
int launch_input(const void *data, size_t len, int *ret_fd, struct runner_error *err);

void launch_add_fd(struct launch *l, int from, int number);

struct launched {
    pid_t pid;
    int pidfd;      /* the caller's to close */
    bool in_cgroup; /* as was asked for; when that was not possible it runs all the same */
};

struct launching; /* a child between its fork and its exec */

/*
 * A process that is to run it, in a session of its own, with signals as by default and no other descriptors. It is on its
 * way when this returns: until launch_end() all that l points to, and the descriptors it names, stay as they are. A failure
 * leaves nothing to end.
 */
int launch_begin(const struct launch *l, struct launching **ret, struct runner_error *err);
/* Waits for its exec, and frees. The caller reaps. What failed, up to and including exec, is an error here, and nothing is
 * left to reap. */
int launch_end(struct launching *way, struct launched *ret, struct runner_error *err);
/* Both, one after the other. */
int launch_start(const struct launch *l, struct launched *ret, struct runner_error *err);

/*
 * Between these two calls no child has copies of descriptors that are not for it. At first it has, whatever O_CLOEXEC says;
 * where such a copy does harm (a TAP stays busy), the descriptor is opened and closed in between.
 */
void launch_hold(void);
void launch_release(void);

#endif
