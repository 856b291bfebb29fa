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

/* ---- looking ---- */

/* What an index says is the image for this machine. */
static int look_chosen(struct registry *registry, const struct store *store, const struct descriptor *chosen,
                       struct manifest *ret, struct runner_error *err)
{
    auto_free char *kept = store_read(store, chosen);
    struct manifest m = {.n_layers = 0};
    int status;

    status = kept != NULL ? manifest_parse(kept, (size_t)chosen->size_bytes, chosen->media_type,
                                           &registry->request->limits, &m, err)
                          : registry_manifest(registry, chosen->digest, &m, err);
    if (status < 0)
        return -1;
    if (m.is_index) {
        manifest_done(&m);
        return fail(err, RUNNER_E_NOTSUP, 0, "an index within an index");
    }
    if (kept == NULL)
        store_keep(store, m.text, m.len);
    *ret = m;
    return 0;
}

static int look_manifest(struct registry *registry, const struct store *store, struct manifest *ret,
                         struct runner_error *err)
{
    struct manifest m = {.n_layers = 0};
    int status;

    if (registry_manifest(registry, ref_reference(&registry->object->ref), &m, err) < 0)
        return -1;
    if (!m.is_index) {
        *ret = m;
        return 0;
    }
    status = look_chosen(registry, store, &m.chosen, ret, err);
    manifest_done(&m);
    return status;
}

static int look_config(struct registry *registry, const struct store *store, const struct descriptor *d, char **ret,
                       struct runner_error *err)
{
    *ret = store_read(store, d);
    if (*ret != NULL)
        return 0;
    if (registry_small_blob(registry, d, ret, err) < 0)
        return -1;
    store_keep(store, *ret, strlen(*ret));
    return 0;
}

int image_look(struct registry *registry, const struct store *store, struct image *ret, struct runner_error *err)
{
    struct image image = {.n_blobs = 0};
    const struct manifest *m = &image.manifest;

    report_progress("resolve", 0, 0);
    if (look_manifest(registry, store, &image.manifest, err) < 0)
        return -1;
    if (manifest_check_layers(m, err) < 0 || look_config(registry, store, &m->config, &image.config, err) < 0 ||
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
