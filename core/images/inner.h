/* Private to core/images. */
#ifndef CORE_IMAGES_INNER_H
#define CORE_IMAGES_INNER_H

#include <pthread.h>
#include <sys/queue.h>

#include "core/images/images.h"

#define IMAGES_OLD_PREFIX ".old-" /* of what goes, in bases/ */

struct named { /* a ref that is here, or is held */
    LIST_ENTRY(named) link;
    char *ref;
    char *base;          /* key, or NULL: it has its files itself, or is not here */
    unsigned holds;      /* by images_open() */
    int64_t used_ms;     /* when it was opened last, wall clock */
};

struct waiter { /* who waits for a flight; of images_fetch(), or for a look at the storage */
    LIST_ENTRY(waiter) link;
    struct runner_call *call;
};
LIST_HEAD(waiters, waiter);

struct unwanted { /* a sandbox that is to be destroyed */
    LIST_ENTRY(unwanted) link;
    char id[64];
    unsigned n; /* how often images_abandon() was called */
};
LIST_HEAD(unwanteds, unwanted);

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
    struct waiters waiters;
    TAILQ_ENTRY(flight) queue_link;
    bool has_turn;
    int turn_fd; /* eventfd; while it is in the queue: readable once it has its turn */
    bool is_over, has_pulled;
    struct runner_error err; /* code 0: it went well */
    int64_t begun_us, over_ms;
    struct image_progress progress; /* but for its seconds */
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
    struct flights queue; /* of those that wait for their turn */
    int64_t n_turns;      /* that are taken */
    struct unwanteds unwanteds;
    struct waiters inspections;
    struct image_stats stats; /* but for what is counted when it is asked for */
    int64_t last_dir;      /* number of the last directory that was begun; no other runner had it */
};

/* images.c; the caller has the mutex. */
struct named *images_named(struct images *images, const char *ref); /* NULL: none */
struct named *images_name(struct images *images, const char *ref, const char *base);
/* Whether a base may go: none of its names is held, no sandbox needs it, nobody makes it now. */
bool images_base_is_free(struct images *images, const char *key);
/* Whether the storage says of an object what it should. */
int images_check_info(const struct runner_object_info *info, struct runner_error *err);
/* Takes the names of a base from the books, a line each. */
void images_forget_base(struct images *images, const char *key, struct str *ret_refs);

/* store.c: what is on the host. Without the mutex. */
char *images_base_path(const struct images *images, const char *key, const char *file); /* the caller frees */
/* The names in bases/, NUL after each; NULL: none. Valid as long as the batch. */
const struct runner_result *images_list_bases(struct images *images, struct runner_call *call,
                                              struct runner_batch *batch);
/* A base's disk, the caller's to free, and how much it holds; NULL: it cannot be read, and so is of no use. */
char *images_disk_of(struct images *images, struct runner_call *call, const char *key, int64_t *ret_bytes);
/* Reads which refs and bases there are, and removes what an earlier runner left half made. Once. */
int images_load(struct images *images, struct runner_call *call, struct runner_error *err);
bool images_has_base(struct images *images, struct runner_call *call, const char *key);
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

/* evict.c */
/* Steps that take a name away, and the directories that were for it alone. The caller has `going`. */
int images_add_removal(const struct images *images, struct runner_batch *batch, const char *ref,
                       struct runner_error *err);
/* Takes bases away that nobody uses: those without a name; where bytes are wanted also those with one, the ones longest
 * unused first, until so many are free. How many bytes were in what went. */
int64_t images_collect(struct images *images, struct runner_call *call, int64_t wanted_bytes);

/* flight.c */
void flight_put(struct flight *flight); /* the caller has the mutex */
/* Of earlier failures of the ref nobody wants to hear any more. The caller has the mutex. */
void flights_forget(struct images *images, const char *ref);

/* fetch.c: all that a flight is to do. */
int flight_fetch(struct flight *flight, struct runner_error *err);

/* turn.c: waits until fewer than limits.pulls are at it; each turn that is taken is given back. */
int turn_take(struct flight *flight, struct runner_error *err);
void turn_give(struct images *images);

/* count.c */
void images_count_flight(const struct flight *flight); /* it is over; the caller has the mutex, of the others nobody */
void images_count_base(struct images *images, int n, int64_t bytes);
void images_count_gone(struct images *images, int64_t bytes, bool is_evicted); /* a base; evicted: it had a name */
void images_count_open(struct images *images, bool is_here);                   /* of a create */

#endif
