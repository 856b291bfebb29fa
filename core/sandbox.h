/*
 * The index of sandboxes in memory. A sandbox's record is changed only by the operation that runs in its lane, and only
 * under the index's lock, so any thread may read it there. References keep it while it is used. The capacity of each host
 * is guarded by the same lock: its sums are those of the sandboxes in the index.
 */
#ifndef CORE_SANDBOX_H
#define CORE_SANDBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "core/host.h"
#include "core/record.h"

#define SANDBOX_LOGS 2 /* files that grow, see trim.c */

struct sandbox {
    struct host *host;
    struct record *record;         /* never NULL */
    unsigned refs;                 /* guarded by the index, as all of it */
    bool is_gone;                  /* taken out of the index */
    bool has_machine;              /* its vCPUs and its memory are allocated on the host; its disk always is */
    bool is_foreign;               /* another runner's: only OP_RECOVER and OP_DESTROY write a record for it */
    bool is_unread;                /* its record could not be read, what there is in memory is made up: as is_foreign */
    bool is_policy_due;            /* its network has not what its record says: an attempt failed */
    bool is_state_due;             /* whether it runs or is paused is not known: its VMM did not say, and is asked again */
    int watch_fd, event_fd;        /* the reaper's: its end, its words; 0: not watched */
    bool is_heard;                 /* the reaper's: its VMM was listened to from the start of the watch */
    bool has_said_end;             /* the reaper's: and said that it ends */
    bool is_unwatched;             /* the reaper's: its end cannot be noticed */
    int64_t retry_ms;              /* the reaper's: until it is looked at again; 0: nothing of it went wrong */
    int64_t trimmed[SANDBOX_LOGS]; /* bytes of each log that are given back; of trim.c's one task */
    struct sandbox *next;
};

struct index;

struct index *index_new(void);
void index_free(struct index *index); /* takes NULL */

void index_lock(struct index *index);
void index_unlock(struct index *index);

/* A reference, or NULL. */
struct sandbox *index_get(struct index *index, const char *id);
void index_put(struct index *index, struct sandbox *sandbox); /* gives a reference back; takes NULL */
/* Admits a new one: takes the record over, and of the host's capacity what the record says, in one step. The id is not in
 * the index. 0 and a reference, or -1 with NOSPACE: the record stays the caller's. */
int index_admit(struct index *index, struct host *host, struct record *record, struct sandbox **ret,
                struct runner_error *err);
/* One that was found at start-up: is not asked whether it fits. A reference. */
struct sandbox *index_add(struct index *index, struct host *host, struct record *record);
/* What a found one is turned out to be otherwise: its record and *record change places (but for the id), and the host's
 * capacity follows, which is not asked. */
void index_replace(struct index *index, struct sandbox *sandbox, struct record *record);
/* Its record is made up, or is so no more: see index_check_leases(). */
void index_set_unread(struct index *index, struct sandbox *sandbox, bool is);
/* Before an address or a user of the host is given to a sandbox: BUSY while it is not known which are taken, since there
 * are records that could not be read. There are never more of them than when the host came up. */
int index_check_leases(struct index *index, struct host *host, struct runner_error *err);
/* Before a stopped one starts: takes its vCPUs and memory, or -1 with NOSPACE. It has them already: fine. */
int index_allocate(struct index *index, struct sandbox *sandbox, struct runner_error *err);
struct resize { /* new totals; 0: as it is */
    uint32_t cpus;
    int64_t memory_bytes, disk_bytes, disk_extra_bytes;
};
struct resize index_size(struct index *index, struct sandbox *sandbox);
/* Its record says so from now on; what it has of its host follows, or -1 with NOSPACE and nothing changed. */
int index_resize(struct index *index, struct sandbox *sandbox, const struct resize *to, struct runner_error *err);
/* Back to what it was: nothing is asked. */
void index_restore_size(struct index *index, struct sandbox *sandbox, const struct resize *was);
/* Its VM is gone: gives them back. Under the lock. */
void sandbox_release(struct sandbox *sandbox);
/* Gives back what it has of the host, too. */
/* The caller's reference stays valid. */
void index_remove(struct index *index, struct sandbox *sandbox);

/* Calls fn for each under the lock: it must be short. */
void index_each(struct index *index, void (*fn)(const struct sandbox *, void *), void *ctx);
/* fn fills in an element of `size` bytes, zeroed before, for each that is there at one moment, or leaves it alone and
 * says false; under the lock: it must be short. An array of *ret_n elements, the caller's to free. */
void *index_map(struct index *index, size_t size, bool (*fn)(const struct sandbox *, void *element, void *ctx), void *ctx,
                size_t *ret_n);
size_t index_count(struct index *index);

#endif
