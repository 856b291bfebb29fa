#include "plugins/storage/oci/program/image.h"

#include <string.h>

#include "plugins/storage/oci/program/report.h"
#include "plugins/storage/oci/program/upload.h"

void image_done(struct image *image)
{
    for (size_t i = 0; i < image->n_blobs; i++)
        blob_close(&image->blobs[i]);
    free(image->blobs);
    free(image->config);
    manifest_done(&image->manifest);
    *image = (struct image){.n_blobs = 0};
}

int image_look(struct registry *registry, struct image *ret, struct runner_error *err)
{
    struct image image = {.n_blobs = 0};
    const struct manifest *m = &image.manifest;

    report_progress("resolve", 0, 0);
    if (registry_image(registry, &image.manifest, err) < 0)
        return -1;
    if (manifest_check_layers(m, err) < 0 || registry_small_blob(registry, &m->config, &image.config, err) < 0 ||
        manifest_check_platform(image.config, strlen(image.config), err) < 0) {
        image_done(&image);
        return -1;
    }
    *ret = image;
    return 0;
}

const struct blob *image_blob(const struct image *image, const char *digest)
{
    for (size_t i = 0; i < image->n_blobs; i++)
        if (strcmp(image->blobs[i].d->digest, digest) == 0)
            return &image->blobs[i];
    return NULL;
}

static void list_blobs(struct image *image, const struct store *store)
{
    const struct manifest *m = &image->manifest;

    if (image->blobs != NULL)
        return;
    image->blobs = mem_array(m->n_layers + 1, sizeof *image->blobs);
    blob_init(&image->blobs[image->n_blobs++], store, &m->config);
    for (size_t i = 0; i < m->n_layers; i++)
        if (image_blob(image, m->layers[i].digest) == NULL)
            blob_init(&image->blobs[image->n_blobs++], store, &m->layers[i]);
}

static int64_t total_of(const struct image *image)
{
    int64_t total = 0;

    for (size_t i = 0; i < image->n_blobs; i++)
        total += image->blobs[i].d->size_bytes;
    return total;
}

int image_fetch(struct registry *registry, const struct store *store, struct image *image, struct runner_error *err)
{
    list_blobs(image, store);
    return fetch_blobs(registry, image->blobs, image->n_blobs, 0, total_of(image), err);
}

int image_take(const struct store *store, struct image *image, struct runner_error *err)
{
    list_blobs(image, store);
    for (size_t i = 0; i < image->n_blobs; i++) {
        struct blob *b = &image->blobs[i];

        if (blob_begin(b, err) < 0)
            return -1;
        if (!b->is_whole)
            return fail(err, RUNNER_E_IO, 0, "blob %s is not there any more", b->d->digest);
    }
    return 0;
}

/* ---- pushing ---- */

static int send_blob(struct registry *from, struct registry *to, struct blob *b, int64_t already, int64_t total,
                     struct runner_error *err)
{
    int has = upload_has_blob(to, b->d->digest, err);

    if (has == 0 && from != NULL && strcmp(from->server, to->server) == 0)
        has = upload_mount(to, b->d->digest, from->object->ref.path, err);
    if (has != 0)
        return has < 0 ? -1 : 0;
    if (!b->is_whole && from != NULL && fetch_blobs(from, b, 1, 0, b->d->size_bytes, err) < 0)
        return -1;
    return upload_blob(to, b->d, b->fd, already, total, err);
}

int image_push(struct registry *from, struct registry *to, const struct store *store, struct image *image,
               struct runner_error *err)
{
    int there = upload_is_there(to, image->manifest.digest, err);
    int64_t already = 0, total;

    if (there != 0)
        return there < 0 ? -1 : 0;
    list_blobs(image, store);
    total = total_of(image);
    for (size_t i = 0; i < image->n_blobs; i++) {
        report_progress("push", (uint64_t)already, (uint64_t)total);
        if (send_blob(from, to, &image->blobs[i], already, total, err) < 0)
            return -1;
        already += image->blobs[i].d->size_bytes;
    }
    report_progress("push", (uint64_t)total, (uint64_t)total);
    return upload_manifest(to, &image->manifest, err);
}
