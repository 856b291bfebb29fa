/*
 * Blobs on the host, shared by all that run at once: <store>/blobs/sha256-<hex> is whole and has that digest;
 * sha256-<hex>.part is what came of one so far. Who makes one holds a lock (flock) on its .part, who uses one a shared lock
 * on it, so nobody fetches the same twice at a time, and what is in use is not taken away.
 */
#ifndef OCI_STORE_H
#define OCI_STORE_H

#include "plugins/storage/oci/digest.h"
#include "plugins/storage/oci/program/manifest.h"

struct store {
    char *dir;
    int fd; /* of dir */
    bool is_only_read;
};

/* Below path; blobs is there. */
int store_open(const char *path, struct store *ret, struct runner_error *err);
void store_close(struct store *store); /* takes a zeroed one */
/* Removes the blobs that were used longest ago until all have at most so many bytes; never those in use, of this process as
 * well. How many bytes were in what went. */
int64_t store_trim(const struct store *store, int64_t bytes);

/* A blob that is made here: its digest shows at the end. */
struct store_new {
    int fd; /* written to from its beginning on; each byte is told to digest, too */
    struct digest *digest;
    char name[48];
};
int store_begin(const struct store *store, struct store_new *ret, struct runner_error *err);
/* is_good: it becomes a whole blob, of which ret is told digest (the caller frees) and size; else it goes. -1: it could not
 * be kept, see err, which is left alone when it was not good. */
int store_end(const struct store *store, struct store_new *made, bool is_good, struct descriptor *ret,
              struct runner_error *err);

/* A small one, whole and verified: size_bytes of text with a NUL behind, the caller's to free. NULL: it is not there. */
char *store_read(const struct store *store, const struct descriptor *d);
/* Keeps one for store_read() and blob_begin(), where that can be done. */
void store_keep(const struct store *store, const char *text, size_t len);

struct blob {
    const struct store *store;
    const struct descriptor *d;
    char *path;
    int fd;          /* -1: neither begun nor there */
    bool is_whole;   /* it is there, verified, and stays as long as it is open */
    bool is_resumed; /* some of it was there before */
    int64_t have;
    struct digest *digest;     /* of what there is */
    struct runner_error fault; /* of blob_add() */
};

void blob_init(struct blob *blob, const struct store *store, const struct descriptor *d);
void blob_close(struct blob *blob); /* what came of it stays */
/* Takes it, or what there is of it: 1, or 0 when another process is making it: ask again later. -1: see err. */
int blob_begin(struct blob *blob, struct runner_error *err);
/* More of it. False: it is more than it should be, or cannot be written; see fault. */
bool blob_add(struct blob *blob, const void *data, size_t len);
int blob_restart(struct blob *blob, struct runner_error *err); /* nothing of it came */
/* All came: verified, on stable storage, whole under its name. INVALID: another digest; then nothing of it stays. */
int blob_commit(struct blob *blob, struct runner_error *err);
/* Takes away what has its name on the host and is not what the name says. True: it did. */
bool blob_drop_false(const struct blob *blob);

#endif
