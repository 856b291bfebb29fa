#include "plugins/storage/oci/program/disk.h"

#include <string.h>
#include <sys/stat.h>

#include "plugins/storage/oci/convert.h"
#include "plugins/storage/oci/program/pack.h"
#include "plugins/storage/oci/program/report.h"

#define DISK_NAME "disk.raw"

static void on_progress(void *ctx, const struct runner_progress *p)
{
    (void)ctx;
    report_progress("convert", p->done_bytes, p->total_bytes);
}

static int is_cancelled(void *ctx)
{
    (void)ctx;
    return report_cancelled();
}

static void list_layers(const struct image *image, struct convert_layer *ret)
{
    const struct manifest *m = &image->manifest;

    for (size_t i = 0; i < m->n_layers; i++)
        ret[i] = (struct convert_layer){.path = image_blob(image, m->layers[i].digest)->path,
                                        .media_type = m->layers[i].media_type,
                                        .name = m->layers[i].digest,
                                        .digest = REF_HEX(m->layers[i].digest)};
}

static void add_result(const struct convert_result *made, struct str *out)
{
    json_add_text(out, "disk", DISK_NAME);
    json_add_text(out, "format", "raw");
    json_add_int(out, "disk_bytes", made->size_bytes);
    json_add_int(out, "content_bytes", made->content_bytes);
    json_add_text(out, "image", made->image_json);
}

/* The same image is the same disk, byte for byte: its file system is named after it. */
static void name_file_system(const struct image *image, uint8_t ret[16])
{
    char hex[65];
    unsigned byte;

    manifest_hash(image->manifest.digest, 64, hex);
    for (size_t i = 0; i < 16; i++) {
        (void)sscanf(hex + 2 * i, "%2x", &byte);
        ret[i] = (uint8_t)byte;
    }
    ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80); /* RFC 9562: of its own making */
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

static int convert(const struct image *image, const char *path, struct convert_result *ret, struct runner_error *err)
{
    auto_free struct convert_layer *layers = mem_array(image->manifest.n_layers, sizeof *layers);
    struct convert_request request = {.layers = layers,
                                      .n_layers = image->manifest.n_layers,
                                      .config = image->config,
                                      .config_len = strlen(image->config),
                                      .needs_diff_ids = true,
                                      .path = path,
                                      .progress = on_progress,
                                      .cancelled = is_cancelled};

    list_layers(image, layers);
    name_file_system(image, request.uuid);
    return convert_image(&request, ret, err);
}

static int unpack(const struct image *image, const char *path, struct convert_result *ret, struct runner_error *err)
{
    struct packed packed;

    if (pack_read_config(image->config, &packed, err) < 0)
        return -1;
    ret->image_json = packed.image_json;
    ret->size_bytes = packed.disk_bytes;
    return pack_unpack(image, packed.disk_bytes, path, &ret->content_bytes, err);
}

/* A blob that became another one since it came: the next try fetches it. */
static void drop_false(const struct image *image, struct runner_error *err)
{
    for (size_t i = 0; i < image->n_blobs; i++)
        if (blob_drop_false(&image->blobs[i]))
            err->retry = 1;
}

int disk_make(const struct image *image, const char *dir, struct str *ret_members, struct runner_error *err)
{
    auto_free char *path = mem_printf("%s/" DISK_NAME, dir);
    struct convert_result made = {.image_json = NULL};
    int status =
        manifest_is_disk(&image->manifest) ? unpack(image, path, &made, err) : convert(image, path, &made, err);

    if (status < 0 && err->code == RUNNER_E_INVALID)
        drop_false(image, err);
    if (status == 0 && chmod(path, 0444) < 0) /* all VMMs' users read it, nobody writes it */
        status = fail_errno(err, errno, "disk '%s'", path);
    if (status == 0)
        add_result(&made, ret_members);
    free(made.image_json);
    return status;
}
