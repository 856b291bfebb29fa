#include "plugins/storage/oci/program/manifest.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/storage/oci/digest.h"
#include "plugins/storage/oci/program/ref.h"

#define ENTRIES_MAX 1000
#define OS          "linux"
#define ARCH        "amd64"

void manifest_hash(const void *data, size_t len, char ret_hex[65])
{
    struct digest *digest = digest_new();

    digest_add(digest, data, len);
    digest_end(digest, ret_hex);
    digest_free(digest);
}

/* ---- descriptors ---- */

static void descriptor_done(struct descriptor *d)
{
    free(d->media_type);
    free(d->digest);
    *d = (struct descriptor){.digest = NULL};
}

static int descriptor_read(const struct json *j, const char *what, struct descriptor *ret, struct runner_error *err)
{
    const char *digest = json_text(j, "digest", ""), *type = json_text(j, "mediaType", "");
    int64_t size = json_int(j, "size", -1);

    if (!ref_is_digest(digest))
        return fail(err, RUNNER_E_INVALID, 0, "manifest: the digest of its %s is '%.100s'", what, digest);
    if (size < 0)
        return fail(err, RUNNER_E_INVALID, 0, "manifest: its %s has no size", what);
    if (json_get(j, "urls") != NULL && json_get(j, "urls")->first != NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "manifest: its %s is kept elsewhere than in the registry (urls), which is not supported", what);
    *ret = (struct descriptor){.media_type = mem_dup(type), .digest = mem_dup(digest), .size_bytes = size};
    return 0;
}

/* ---- indexes ---- */

static bool is_ours(const struct json *platform)
{
    return strcmp(json_text(platform, "os", ""), OS) == 0 && strcmp(json_text(platform, "architecture", ""), ARCH) == 0;
}

static bool is_plain(const struct json *platform)
{
    const char *variant = json_text(platform, "variant", "");

    return variant[0] == '\0' || strcmp(variant, "v1") == 0;
}

static void add_platform(const struct json *platform, struct str *out)
{
    const char *os = json_text(platform, "os", "?"), *arch = json_text(platform, "architecture", "?");

    if (out->len < 200 && strcmp(os, "unknown") != 0)
        str_addf(out, "%s%.20s/%.20s", out->len > 0 ? ", " : "", os, arch);
}

/* The one for linux/amd64 that asks for no newer processor, else one that does. */
static int index_read(const struct json *entries, struct manifest *m, struct runner_error *err)
{
    auto_str struct str others = STR_INIT;
    const struct json *best = NULL;
    int n = 0;

    for (const struct json *j = entries->first; j != NULL; j = j->next) {
        const struct json *platform = json_get(j, "platform");

        if (++n > ENTRIES_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "index: more than %d images", ENTRIES_MAX);
        if (!is_ours(platform))
            add_platform(platform, &others);
        else if (best == NULL || (is_plain(platform) && !is_plain(json_get(best, "platform"))))
            best = j;
    }
    if (best == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "there is no image for " OS "/" ARCH "%s%s",
                    others.len > 0 ? ", only for " : ", nor for another platform", str_text(&others));
    return descriptor_read(best, "image", &m->chosen, err);
}

/* ---- images ---- */

static int check_total(const struct manifest *m, const struct manifest_limits *limits, struct runner_error *err)
{
    int64_t total = m->config.size_bytes;

    for (size_t i = 0; i < m->n_layers; i++)
        if (__builtin_add_overflow(total, m->layers[i].size_bytes, &total))
            total = INT64_MAX;
    if (total > limits->bytes)
        return fail(err, RUNNER_E_INVALID, 0,
                    "the image has %" PRId64 " bytes, at most %" PRId64 " are taken (max_image)", total, limits->bytes);
    if (m->config.size_bytes > MANIFEST_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "manifest: a configuration of %" PRId64 " bytes, at most %d",
                    m->config.size_bytes, MANIFEST_MAX);
    return 0;
}

static int image_read(const struct json *tree, const struct manifest_limits *limits, struct manifest *m,
                      struct runner_error *err)
{
    const struct json *layers = json_get(tree, "layers");
    size_t n = 0;

    if (layers == NULL || layers->type != JSON_ARRAY)
        return fail(err, RUNNER_E_INVALID, 0, "manifest: it has no list of layers");
    if (descriptor_read(json_get(tree, "config"), "configuration", &m->config, err) < 0)
        return -1;
    for (const struct json *j = layers->first; j != NULL; j = j->next)
        n++;
    if ((int64_t)n > limits->blobs)
        return fail(err, RUNNER_E_INVALID, 0, "the image has %zu layers, at most %" PRId64 " are taken (max_layers)", n,
                    limits->blobs);
    m->layers = mem_array(n, sizeof *m->layers);
    for (const struct json *j = layers->first; j != NULL; j = j->next, m->n_layers++)
        if (descriptor_read(j, "layer", &m->layers[m->n_layers], err) < 0)
            return -1;
    return check_total(m, limits, err);
}

/* ---- either ---- */

enum kind { UNKNOWN, INDEX, IMAGE, SCHEMA1 };

static enum kind kind_of(const char *type)
{
    static const struct {
        const char *type;
        enum kind kind;
    } kinds[] = {
        {"application/vnd.oci.image.index.v1+json", INDEX},
        {"application/vnd.docker.distribution.manifest.list.v2+json", INDEX},
        {"application/vnd.oci.image.manifest.v1+json", IMAGE},
        {"application/vnd.docker.distribution.manifest.v2+json", IMAGE},
        {"application/vnd.docker.distribution.manifest.v1+json", SCHEMA1},
        {"application/vnd.docker.distribution.manifest.v1+prettyjws", SCHEMA1},
    };

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcasecmp(type, kinds[i].type) == 0)
            return kinds[i].kind;
    return UNKNOWN;
}

/* What the manifest says of itself, else what the answer said; OCI's may leave it out. */
static enum kind find_kind(const struct json *tree, const char *content_type, struct manifest *m)
{
    auto_free char *header =
        mem_dup_n(content_type != NULL ? content_type : "", content_type != NULL ? strcspn(content_type, "; \t") : 0);
    const char *own = json_text(tree, "mediaType", header);

    m->media_type = mem_dup(kind_of(own) != UNKNOWN || header[0] == '\0' ? own : header);
    if (kind_of(m->media_type) != UNKNOWN)
        return kind_of(m->media_type);
    if (own[0] != '\0' && strcmp(own, header) != 0)
        return UNKNOWN;
    if (json_int(tree, "schemaVersion", 0) == 1)
        return SCHEMA1;
    if (strncmp(m->media_type, "application/vnd.", 16) == 0 || json_int(tree, "schemaVersion", 0) != 2)
        return UNKNOWN;
    free(m->media_type);
    m->media_type = mem_dup(json_get(tree, "manifests") != NULL ? "application/vnd.oci.image.index.v1+json"
                                                                : "application/vnd.oci.image.manifest.v1+json");
    return kind_of(m->media_type);
}

static int read_tree(const struct json *tree, const char *content_type, const struct manifest_limits *limits,
                     struct manifest *m, struct runner_error *err)
{
    const struct json *entries = json_get(tree, "manifests");

    switch (find_kind(tree, content_type, m)) {
    case INDEX:
        m->is_index = true;
        if (entries == NULL || entries->type != JSON_ARRAY)
            return fail(err, RUNNER_E_INVALID, 0, "index: it has no list of images");
        return index_read(entries, m, err);
    case IMAGE:
        return image_read(tree, limits, m, err);
    case SCHEMA1:
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "manifest: it is of Docker's schema 1, which is obsolete: push the image again");
    default:
        return fail(err, RUNNER_E_NOTSUP, 0, "manifest: '%.100s' is no media type of an image", m->media_type);
    }
}

int manifest_parse(const char *text, size_t len, const char *content_type, const struct manifest_limits *limits,
                   struct manifest *ret, struct runner_error *err)
{
    struct manifest m = {.n_layers = 0};
    auto_json struct json *tree = NULL;

    if (len > MANIFEST_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "manifest: more than %d bytes", MANIFEST_MAX);
    if (json_parse(text, len, &tree, err) < 0)
        return error_wrap(err, "manifest (%.60s)", content_type != NULL ? content_type : "of no type");
    if (tree->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "manifest: it is no object");
    if (read_tree(tree, content_type, limits, &m, err) < 0) {
        manifest_done(&m);
        return -1;
    }
    m.text = mem_dup_n(text, len);
    m.len = len;
    manifest_hash(text, len, m.digest);
    *ret = m;
    return 0;
}

void manifest_done(struct manifest *m)
{
    for (size_t i = 0; m->layers != NULL && i < m->n_layers; i++)
        descriptor_done(&m->layers[i]);
    free(m->layers);
    descriptor_done(&m->config);
    descriptor_done(&m->chosen);
    free(m->media_type);
    free(m->text);
    *m = (struct manifest){.n_layers = 0};
}

bool manifest_is_disk(const struct manifest *m)
{
    return strcmp(m->config.media_type, MANIFEST_DISK_CONFIG) == 0;
}

int64_t manifest_size(const struct manifest *m)
{
    int64_t total = m->config.size_bytes; /* bounded when it was read */

    for (size_t i = 0; i < m->n_layers; i++)
        total += m->layers[i].size_bytes;
    return total;
}

static bool is_layer(const char *type)
{
    static const char *const types[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    };

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

int manifest_check_layers(const struct manifest *m, struct runner_error *err)
{
    if (manifest_is_disk(m)) {
        if (m->n_layers == 1 && strcmp(m->layers[0].media_type, MANIFEST_DISK_LAYER) == 0)
            return 0;
        return fail(err, RUNNER_E_NOTSUP, 0, "manifest: a disk that is not one layer of " MANIFEST_DISK_LAYER);
    }
    if (m->n_layers == 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "the image has no layers: there is nothing to boot");
    for (size_t i = 0; i < m->n_layers; i++)
        if (!is_layer(m->layers[i].media_type))
            return fail(err, RUNNER_E_NOTSUP, 0,
                        "manifest: layer %zu has the media type '%.100s', of which no disk is made", i + 1,
                        m->layers[i].media_type);
    return 0;
}

int manifest_check_platform(const char *config, size_t len, struct runner_error *err)
{
    auto_json struct json *tree = NULL;
    const char *os, *arch;

    if (json_parse(config, len, &tree, err) < 0)
        return error_wrap(err, "configuration of the image");
    os = json_text(tree, "os", "");
    arch = json_text(tree, "architecture", "");
    if ((os[0] != '\0' && strcmp(os, OS) != 0) || (arch[0] != '\0' && strcmp(arch, ARCH) != 0))
        return fail(err, RUNNER_E_NOTSUP, 0, "the image is for %.20s/%.20s, not for " OS "/" ARCH, os, arch);
    return 0;
}
