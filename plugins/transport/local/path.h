/* A path as an open parent directory and a name in it, and files that appear whole. */
#ifndef PATH_H
#define PATH_H

#include "plugins/transport/local/kept.h"

struct path {
    int dir;          /* O_PATH is not enough: it is synced too (but not one of path_open_strict) */
    bool is_kept;     /* dir is kept's */
    const char *name; /* within the text given to path_open() */
};

/* Opens the parent of an absolute path, unless it is kept; kept (or NULL) has it from then on. "/" and names "." and ".."
 * are INVALID. */
int path_open(struct kept *kept, const char *text, struct path *ret, struct runner_error *err);
/* The same where a directory on the way may be another user's, who could lay links: one is followed only when it and
 * the directory that holds it are root's or our own. */
int path_open_strict(const char *text, struct path *ret, struct runner_error *err);
static inline void path_done(struct path *p)
{
    if (!p->is_kept)
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

/* Makes a file of exactly this mode, whatever others may be kept from by the umask. A descriptor to read and write, or -1
 * with errno; EEXIST when the name is taken. */
int file_make(int dir, const char *name, mode_t mode);
/* Makes it with exactly this mode, open for reading and writing. kept: as for path_open(). */
int draft_open(struct kept *kept, const char *path, mode_t mode, struct draft *ret, struct runner_error *err);
/* Gives it its name; with sync it is on stable storage, name and all; with excl EXISTS when the name is taken. */
int draft_publish(struct draft *d, bool sync, bool excl, struct runner_error *err);
/* Removes what was not published. */
void draft_done(struct draft *d);
#define auto_draft CLEANUP(draft_done)

#endif
