/* A path as an open parent directory and a name in it, and files that appear whole. */
#ifndef PATH_H
#define PATH_H

#include "plugins/transport/local/local.h"

struct path {
    int dir;          /* O_PATH is not enough: it is synced too (but not one of path_open_strict) */
    const char *name; /* within the text given to path_open() */
};

/* Opens the parent of an absolute path. "/" and names "." and ".." are INVALID. */
int path_open(const char *text, struct path *ret, struct runner_error *err);
/* The same where a directory on the way may be another user's, who could lay links: one is followed only when it and
 * the directory that holds it are root's or our own. */
int path_open_strict(const char *text, struct path *ret, struct runner_error *err);
static inline void path_done(struct path *p)
{
    cleanup_close(&p->dir);
}
#define auto_path CLEANUP(path_done)
#define PATH_INIT                                                                                                      \
    {                                                                                                                  \
        .dir = -1                                                                                                      \
    }

struct draft { /* a file under a temporary name beside the one it will have */
    struct path at;
    char name[32];
    int fd;
};
#define DRAFT_INIT                                                                                                     \
    {                                                                                                                  \
        .at = PATH_INIT, .fd = -1                                                                                      \
    }

/* Makes it with exactly this mode, open for reading and writing. */
int draft_open(const char *path, mode_t mode, struct draft *ret, struct runner_error *err);
/* Gives it its name; with sync it is on stable storage, name and all; with excl EXISTS when the name is taken. */
int draft_publish(struct draft *d, bool sync, bool excl, struct runner_error *err);
/* Removes what was not published. */
void draft_done(struct draft *d);
#define auto_draft CLEANUP(draft_done)

#endif
