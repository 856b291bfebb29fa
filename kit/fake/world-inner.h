/* What the files of the world share: things with names, and what steps do to them. All hold the world's lock. */
#ifndef KIT_FAKE_WORLD_INNER_H
#define KIT_FAKE_WORLD_INNER_H

#include <pthread.h>

#include "kit/fake/inner.h"
#include "kit/fake/world.h"

struct item {
    char kind;  /* d: directory, f: file, s: socket, t: TAP, i: idle TAP, p: process, by its pid file */
    char *name; /* path; of a TAP its name */
    int64_t size;
    struct str data; /* the beginning of a file */
};

struct world {
    pthread_mutex_t lock; /* guards what follows */
    char *root;
    struct item **items;
    size_t n;
};

/* Of one of these kinds, or NULL. */
struct item *world_find(struct world *w, const char *kinds, const char *name);
struct item *world_put(struct world *w, char kind, const char *name);
/* The file, made when its directory is there; NULL: err says why not. */
struct item *world_put_file(struct world *w, const char *path, struct runner_error *err);
void world_drop(struct world *w, const struct item *item);
void world_drop_at(struct world *w, size_t i);
void world_give(struct runner_result *result, const char *data, size_t len);

bool world_is_below(const char *name, const char *dir);
bool world_has_parent(struct world *w, const char *path);
int world_absent(struct runner_error *err, const char *path); /* NOTFOUND */

typedef int world_do_fn(struct world *w, const struct runner_step *step, struct runner_result *result,
                        struct runner_error *err);
/* By kind of step; NULL: another file's. */
extern world_do_fn *const world_file_steps[], *const world_machine_steps[];
enum { WORLD_STEPS = RUNNER_CONNTRACK_DEL + 1 };

#endif
