/* Cgroups (version 2) for processes. Where there are none, or they cannot be written, things go on without. */
#ifndef CGROUP_H
#define CGROUP_H

#include "plugins/transport/local/local.h"

/* parent: path below the root of the hierarchy, of which the value lives as long; "": no cgroups. */
int cgroups_new(const char *parent, struct cgroups **ret, struct runner_error *err);
/* Removes the folders that no process is in. Takes NULL. */
void cgroups_free(struct cgroups *all);

struct cgroup_limits {
    uint64_t memory_bytes, tasks; /* 0: none */
};

/* The cgroup of that name, empty: what is left in one from before is killed. ret_fd: its directory, for the caller to
 * close. ret_has_limits: whether all limits that were asked for are set. -1: there is none, and err, which is not NULL,
 * says why. */
int cgroup_make(const struct act *a, const char *name, const struct cgroup_limits *limits, int *ret_fd,
                bool *ret_has_limits, struct runner_error *err);
/* Removes one that is empty. */
void cgroup_drop(const struct act *a, const char *name);

/* ---- cgroup-tree.c: the folder that holds them ---- */

enum { CGROUP_MEMORY = 1, CGROUP_PIDS = 2, CGROUP_CPU = 4 }; /* controllers */

struct cgroups {
    pthread_mutex_t lock; /* of what follows */
    const char *parent;
    char *path;           /* parent and the folder of this root, from the root of the hierarchy; NULL: not made yet */
    int root, dir;        /* the root of the hierarchy, and path in it; -1 */
    unsigned controllers; /* that cgroups in path have */
    struct runner_error cause; /* why there is none; code 0: there is, or it was not tried; NOTSUP: there never is */
};

/* Finds, and makes, the folder on the first call that can. ret_dir: a copy for the caller to close. again: what was
 * found before is no more. */
int cgroups_open(const struct act *a, bool again, int *ret_dir, unsigned *ret_controllers, struct runner_error *err);
/* The folder as it is, and nothing is made. ret_dir: for the caller to close. 1: there is none, so no cgroup either. err
 * is not NULL. */
int cgroups_find(const struct act *a, int *ret_dir, struct runner_error *err);
/* Writes text into a file of a cgroup; 0 or -1 with errno. */
int cgroup_write(int dir, const char *file, const char *text);

#endif
