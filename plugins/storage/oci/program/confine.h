/* The program reads what strangers wrote: it gives up what it does not need. README.md says what is left. */
#ifndef OCI_CONFINE_H
#define OCI_CONFINE_H

#include "core/util/error.h"
#include "plugins/storage/oci/program/request.h"

#define CONFINE_PATHS 2

struct confine {
    uint32_t uid;                        /* its user and group, when root started it; 0: it stays who it is */
    const char *writable[CONFINE_PATHS]; /* directories that become the user's; NULL: none */
    const char *readable[CONFINE_PATHS]; /* beside the system's files, as far as their modes allow; NULL: none */
    int64_t memory_bytes;                /* of its address space; 0: no limit */
    int64_t file_bytes;                  /* of one file; -1: no limit */
    int64_t n_files;                     /* that are open at once; 0: as it was */
};

/* Takes one thing that this host cannot do, in words. */
typedef void confine_gap_fn(void *ctx, const char *text);

/* For good, and for all that it starts: before any thread. It ends with the process that started it. What the host cannot do is told to `gap`, and left out; -1:
 * something that every host can do failed. */
int confine(const struct confine *what, confine_gap_fn *gap, void *ctx, struct runner_error *err);

/* The same, as the operation needs it. Makes the directory of blobs, and opens the disk that is pushed. */
int confine_for(struct request *request, confine_gap_fn *gap, void *ctx, struct runner_error *err);

/* Of all that, no more than to have no capability and to get none. */
int confine_capabilities(struct runner_error *err);

/* A smaller bound of one file's bytes. */
int confine_file_bytes(int64_t bytes, struct runner_error *err);

#endif
