/* Private to core/images. */
#ifndef CORE_IMAGES_INNER_H
#define CORE_IMAGES_INNER_H

#include <pthread.h>
#include <sys/queue.h>

#include "core/images/images.h"

struct named { /* a ref that is here, or is held */
    LIST_ENTRY(named) link;
    char *ref;
    char *base;          /* key, or NULL: it has its files itself, or is not here */
    unsigned holds;      /* by images_open() */
    int64_t used_ms;     /* when it was opened last, wall clock */
};

/* One fetch, or the memory of one that failed. */
struct flight {
    struct task task; /* first: what the pool runs */
    TAILQ_ENTRY(flight) link;
    struct images *images;
    struct runner_call call;
    char *ref, *other_ref;
    struct image_object from, also; /* ref NULL: none */
    char *key;                      /* of the base that it makes now, or NULL; others that want it wait */
    int over_fd;                    /* eventfd, readable once it is over */
    unsigned holders;               /* those who wait, and the task */
    bool is_over;
    struct runner_error err; /* code 0: it went well */
    int64_t begun_us, over_ms;
    char phase[16];
    uint64_t done_bytes, total_bytes;
};
TAILQ_HEAD(flights, flight);
LIST_HEAD(nameds, named);

struct images {
    struct engine *engine;
    struct host *host;
    pthread_mutex_t load_mutex; /* held while what is there is read, by everybody who needs that */
    bool is_loaded;
    pthread_rwlock_t going; /* for writing: a name or a base is taken away; for reading: one is looked for, and held */
    pthread_mutex_t mutex; /* guards the members below; the index's lock may be taken within it */
    struct nameds nameds;
    struct flights flights;
    struct image_stats stats; /* but for what is counted when it is asked for */
    int64_t last_dir;      /* number of the last directory that was begun; no other runner had it */
};

/* images.c; the caller has the mutex. */
struct named *images_named(struct images *images, const char *ref); /* NULL: none */
struct named *images_name(struct images *images, const char *ref, const char *base);
/* Whether a base may go: none of its names is held, no sandbox has its disk on it, nobody makes it now. */
bool images_base_is_free(struct images *images, const char *key, const char *disk_path);
/* Whether the storage says of an object what it should. */
int images_check_info(const struct runner_object_info *info, struct runner_error *err);
/* Takes the names of a base from the books, a line each. */
void images_forget_base(struct images *images, const char *key, struct str *ret_refs);

/* store.c: what is on the host. Without the mutex. */
/* Reads which refs and bases there are, and removes what an earlier runner left half made. Once. */
int images_load(struct images *images, struct runner_call *call, struct runner_error *err);
bool images_has_base(struct images *images, struct runner_call *call, const char *key);
/* Steps that take a name away, and the directories that were for it alone. The caller has `going`. */
int images_add_removal(const struct images *images, struct runner_batch *batch, const char *ref,
                       struct runner_error *err);
/* INVALID: a snapshot of the host's own has this name, or is in the way of it: nothing that is pulled takes it. */
int images_check_name(struct images *images, struct runner_call *call, const char *ref, struct runner_error *err);
/* Makes the base of key from what was pulled into dir, unless it is there by now. */
int images_keep_base(struct images *images, struct runner_call *call, const char *dir, const char *key,
                     const struct runner_base *base, struct runner_error *err);
/* Gives the base a name. */
int images_keep_ref(struct images *images, struct runner_call *call, const char *key, const char *ref,
                    struct runner_error *err);
/* The path of a new directory below bases/, which exists then; the caller frees. */
char *images_make_dir(struct images *images, struct runner_call *call, struct runner_error *err);
void images_remove_dir(struct images *images, const char *dir);
/* Takes bases away that nobody uses: those without a name; where bytes are wanted also those with one, the ones longest
 * unused first, until so many are free. */
void images_collect(struct images *images, struct runner_call *call, int64_t wanted_bytes);

/* flight.c */
void flight_put(struct flight *flight); /* the caller has the mutex */

#endif
