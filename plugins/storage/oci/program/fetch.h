/* Blobs from a registry into the store, several at once. */
#ifndef OCI_FETCH_H
#define OCI_FETCH_H

#include "plugins/storage/oci/program/registry.h"
#include "plugins/storage/oci/program/store.h"

/* blobs: initialised, none begun, each digest once; whole when it returns. What came stays for the next time when it
 * fails. already, total: bytes for the progress that are not theirs. */
int fetch_blobs(struct registry *registry, struct blob *blobs, size_t n, int64_t already, int64_t total,
                struct runner_error *err);

#endif
