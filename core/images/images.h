/*
 * The images of a host: objects of a storage that are disks here.
 *   <root>/bases/<key>/               a disk made once of each content, which never changes, with its manifest.json
 *   <root>/snapshots/<ref>/manifest.json   gives it a name: a copy of that manifest (core/snapshot.h)
 * The key is the content's digest with what made the disk. A base goes when no ref names it and no sandbox has a disk on
 * it; until then refs share it, as does everyone who asks for one that is being fetched. Where the host's storage cannot
 * fetch (none is configured) only what is there can be used.
 *
 * Any thread may call; what takes a call blocks and is for workers.
 */
#ifndef CORE_IMAGES_H
#define CORE_IMAGES_H

#include "core/engine.h"
#include "core/snapshot.h"

struct images;

/* Where an object is, and who may have it: a copy that wipes its secrets. */
struct image_object {
    char *ref, *server, *username, *password; /* server, username and password may be NULL */
};
void image_object_copy(struct image_object *to, const struct image_object *from);
void image_object_wipe(struct image_object *object); /* frees the strings, not the object */
void image_object_forget(struct image_object *object); /* the credentials only */
#define auto_image_object CLEANUP(image_object_wipe)

/* What is to be here under a name. */
struct image_wish {
    const char *ref;                 /* the name here; text_is_ref() */
    const char *other_ref;           /* another one, or NULL */
    const struct image_object *from; /* NULL: it is not fetched */
    const struct image_object *also; /* where it is to be kept as well, or NULL, and so a name here; a ref that ends with
                                        "-" is completed: "<digest>:daytona" */
};

struct images *images_new(struct engine *engine, struct host *host);
void images_free(struct images *images); /* no fetch runs; takes NULL */
/* What is fetched or looked up now ends soon, as cancelled; for a pool that takes no more. */
void images_cancel(struct images *images);

/* Begins to fetch what is not here, or joins who does; returns at once. BUSY: the runner stops, or too much waits. */
int images_begin(struct images *images, const struct image_wish *wish, struct runner_error *err);
/* The same, and waits for the end of it, for timeouts.pull: meanwhile the call's own time stands still. TIMEOUT: it goes
 * on without who waited. */
int images_fetch(struct images *images, struct runner_call *call, const struct image_wish *wish,
                 struct runner_error *err);

/* A sandbox is to be destroyed, or was: between the two no call for it (runner_call.id) waits for an image: BUSY. As often
 * the one as the other. */
void images_abandon(struct images *images, const char *id);
void images_abandon_over(struct images *images, const char *id);

/* Opens what is here, fetching it first where `from` says how, and holds it: until images_release() its base stays. */
int images_open(struct images *images, struct runner_call *call, const char *ref, const struct image_object *from,
                struct snapshot **ret, struct runner_error *err);
void images_release(struct images *images, const char *ref);

/* Whether a ref means something else from time to time: ":latest", or no tag at all. */
bool image_is_moving(const char *ref);
/* What a ref stands for in the storage. */
int images_inspect(struct images *images, struct runner_call *call, const struct image_object *object,
                   struct runner_object_info *ret, struct runner_error *err);
/* That an earlier fetch of it failed is forgotten, too. Absent: fine. Kept: it stays, as it is about to be used, or as
 * sandboxes' disks are on it itself (it was not pulled, so there is no base). */
int images_remove(struct images *images, struct runner_call *call, const char *ref, bool *ret_is_kept,
                  struct runner_error *err);
int images_tag(struct images *images, struct runner_call *call, const char *from, const char *to,
               struct runner_error *err);

/* How the last fetch of a ref ended, when it failed and that was lately; else false. */
bool images_failure(struct images *images, const char *ref, struct runner_error *ret);

#define IMAGE_BUCKETS 10
#define IMAGE_CODES   32 /* of RUNNER_E_*: there are fewer */
extern const int image_bucket_s[IMAGE_BUCKETS]; /* upper ends; what takes longer is in one bucket more */

struct image_stats { /* counts are since the runner started */
    uint64_t running, waiting; /* fetches; waiting: for others, of which there may be only so many at once */
    int64_t oldest_us;         /* how long that of them has taken so far that takes longest */
    uint64_t done, failed, failures[IMAGE_CODES]; /* fetches that ended; by RUNNER_E_* */
    uint64_t fetched_bytes;                       /* of what became a base, as its storage keeps it */
    uint64_t buckets[IMAGE_BUCKETS + 1];          /* those that made one, by how long they took */
    int64_t pulled_us;                            /* all of these together */
    uint64_t opened, missed;                      /* creates whose image was here, or was not */
    uint64_t evicted, evicted_bytes;              /* bases that went though they had names, to make room */
    uint64_t names, images; /* refs of what was pulled, and the bases that they name */
    uint64_t bases;         /* those without a name too */
    int64_t bases_bytes;    /* what is in them */
};
void images_read_stats(struct images *images, struct runner_call *call, struct image_stats *ret);

struct image_progress { /* of a fetch under way */
    char phase[16]; /* "resolve", "wait" (for others), or what the storage says: "fetch", "convert" */
    uint64_t done_bytes, total_bytes;
    int64_t seconds; /* since it began */
};
/* false: none is. Of several, which bring other accounts and wait for one of them: of the one that is furthest. */
bool images_progress(struct images *images, const char *ref, struct image_progress *ret);
/* Refs of fetches that run or failed lately, a line each. */
void images_busy_refs(struct images *images, struct str *ret);

#endif
