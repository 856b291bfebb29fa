/* An image and its blobs, as they come out of a registry and go into another. */
#ifndef OCI_IMAGE_H
#define OCI_IMAGE_H

#include "plugins/storage/oci/program/fetch.h"
#include "plugins/storage/oci/program/registry.h"
#include "plugins/storage/oci/program/store.h"

struct image {
    struct manifest manifest;
    struct blob *
        blobs; /* which refer to the manifest, so the image stays where it is: the configuration's first, then the layers', each digest once */
    size_t n_blobs;
    char *config;
};

/* The manifest of the registry's object, with what is known without its layers: is it for this machine, and of a kind
 * that a disk can be made of? Only what the reference stands for now is asked for in any case: what the store has of the
 * rest is taken from there, what it can keep is kept. */
int image_look(struct registry *registry, const struct store *store, struct image *ret, struct runner_error *err);
void image_done(struct image *image);

/* All blobs, on the host. */
int image_fetch(struct registry *registry, const struct store *store, struct image *image, struct runner_error *err);
/* All blobs and then the manifest into `to`: what it has is not sent, what it has under another name is mounted. from:
 * where they are fetched from when they are needed; NULL: they are all here. */
int image_push(struct registry *from, struct registry *to, const struct store *store, struct image *image,
               struct runner_error *err);

/* All blobs, which are on the host already. */
int image_take(const struct store *store, struct image *image, struct runner_error *err);

/* The blob of a layer, or NULL when there is none. */
const struct blob *image_blob(const struct image *image, const char *digest);

#endif
