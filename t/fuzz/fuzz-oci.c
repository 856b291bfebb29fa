/* What storage/oci reads of images: manifests and indexes, as what the answer calls them, and configurations. */
#include <string.h>

#include "plugins/storage/oci/program/pack.h"
#include "plugins/storage/oci/program/ref.h"
#include "t/fuzz/fuzz.h"

#define LAYERS_MAX 8
#define BYTES_MAX  1000000

static void need_descriptor(const struct descriptor *d)
{
    need(ref_is_digest(d->digest) && d->size_bytes >= 0 && d->media_type != NULL);
}

static void read_manifest(const char *type, const char *text, size_t size, struct runner_error *err)
{
    const struct manifest_limits limits = {.bytes = BYTES_MAX, .blobs = LAYERS_MAX};
    struct manifest m = {.n_layers = 0};

    if (manifest_parse(text, size, type, &limits, &m, err) < 0) {
        need_reason(err);
        return;
    }
    need(m.len == size && memcmp(m.text, text, size) == 0 && strlen(m.digest) == 64);
    if (m.is_index) {
        need_descriptor(&m.chosen);
    } else {
        need_descriptor(&m.config);
        need(m.n_layers <= LAYERS_MAX && manifest_size(&m) >= 0 && manifest_size(&m) <= BYTES_MAX);
        for (size_t i = 0; i < m.n_layers; i++)
            need_descriptor(&m.layers[i]);
        if (manifest_check_layers(&m, err) < 0)
            need_reason(err);
        else
            need(m.n_layers > 0);
    }
    manifest_done(&m);
}

static void read_config(const char *text, size_t size, struct runner_error *err)
{
    struct packed packed = {.disk_bytes = 0};

    if (manifest_check_platform(text, size, err) < 0)
        need_reason(err);
    error_clear(err);
    if (pack_read_config(text, &packed, err) < 0)
        need_reason(err);
    else
        need(packed.disk_bytes > 0 && packed.disk_bytes <= PACK_DISK_MAX && packed.image_json[0] == '{');
    free(packed.image_json);
}

/* What the answer says that it is, in a line before it. */
static void read_answer(char *text, size_t size, struct runner_error *err)
{
    char *end = memchr(text, '\n', size);

    if (end == NULL)
        return;
    *end++ = '\0';
    read_manifest(text, end, size - (size_t)(end - text), err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *text = size > 0 ? mem_dup_n((const char *)data + 1, size - 1) : NULL;

    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'm':
        read_manifest(NULL, text, size - 1, &err);
        break;
    case 'a':
        read_answer(text, size - 1, &err);
        break;
    case 'i':
        read_config(text, strlen(text), &err);
        break;
    default:
        break;
    }
    return 0;
}
