/*
 * check-convert [NAME=VALUE]... DISK CONFIG [MEDIA-TYPE FILE]...: a disk of layers. NAME: a bound of struct convert_bounds, or
 * cancel (after so many questions), diff_ids (1: needed). Prints rss_kb, ms, size, content, entries, json, each a line "NAME VALUE"; or rss_kb, ms
 * and "error CODE TEXT", exit status 1.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/num.h"
#include "plugins/storage/oci/convert.h"

struct asked {
    int64_t left; /* 0: for ever */
    uint64_t done;
    bool is_falling;
};

static int on_cancelled(void *ctx)
{
    struct asked *asked = ctx;

    return asked->left > 0 && --asked->left == 0 ? RUNNER_E_CANCELLED : 0;
}

static void on_progress(void *ctx, const struct runner_progress *p)
{
    struct asked *asked = ctx;

    asked->is_falling |=
        p->done_bytes < asked->done || p->done_bytes > p->total_bytes || strcmp(p->phase, "convert") != 0;
    asked->done = p->done_bytes;
}

static int usage(void)
{
    (void)fprintf(stderr, "check-convert [NAME=VALUE]... DISK CONFIG [MEDIA-TYPE FILE]...\n");
    return 2;
}

static bool set_bound(struct convert_request *request, struct asked *asked, const char *word)
{
    struct convert_bounds *b = &request->bounds;
    size_t len = strcspn(word, "=");
    int64_t value;

    if (word[len] == '\0' || !num_int(word + len + 1, 0, INT64_MAX, &value))
        return false;
#define IS(name) (strlen(name) == len && memcmp(word, name, len) == 0)
    if (IS("layers"))
        b->layers = value;
    else if (IS("entries"))
        b->entries = value;
    else if (IS("depth"))
        b->depth = value;
    else if (IS("ratio"))
        b->ratio = value;
    else if (IS("total"))
        b->total_bytes = value;
    else if (IS("file"))
        b->file_bytes = value;
    else if (IS("xattr"))
        b->xattr_bytes = value;
    else if (IS("cancel"))
        asked->left = value;
    else if (IS("diff_ids"))
        request->needs_diff_ids = value != 0;
    else
        return false;
    return true;
}

static char *read_file(const char *path, size_t *ret_len)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *text;

    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    text = mem_alloc(st.st_size + 1);
    *ret_len = read(fd, text, st.st_size) == st.st_size ? (size_t)st.st_size : 0;
    return text;
}

/* The most memory that was in use at a time; that of getrusage() may be the parent's. -1: not known. */
static int64_t peak_kb(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return -1; /* most of it is the sanitizer's */
#endif
    auto_fclose FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kb = -1;

    while (file != NULL && kb < 0 && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmHWM: %ld", &kb);
    return kb;
}

static void show(const struct convert_result *result)
{
    (void)printf("size %" PRId64 "\ncontent %" PRId64 "\nentries %" PRIu32 "\njson %s\n", result->size_bytes,
                 result->content_bytes, result->entries, result->image_json);
}

int main(int argc, char **argv)
{
    struct convert_request request = {.uuid = "0123456789abcde", .cancelled = on_cancelled, .progress = on_progress};
    struct runner_error err = ERROR_INIT;
    struct asked asked = {0};
    struct convert_result result;
    auto_free struct convert_layer *layers = mem_array(argc, sizeof(*layers));
    auto_free char *config = NULL;
    int64_t start = num_now_ms();
    int at = 1, status;

    while (at < argc && set_bound(&request, &asked, argv[at]))
        at++;
    if (argc - at < 2 || (argc - at) % 2 != 0)
        return usage();
    request.path = argv[at++];
    request.ctx = &asked;
    config = read_file(argv[at++], &request.config_len);
    request.config = config;
    if (config == NULL)
        return usage();
    for (; at < argc; at += 2)
        layers[request.n_layers++] = (struct convert_layer){
            .path = argv[at + 1], .media_type = argv[at], .name = strrchr(argv[at + 1], '/') + 1};
    request.layers = layers;
    status = convert_image(&request, &result, &err);
    (void)printf("rss_kb %" PRId64 "\nms %" PRId64 "\n", peak_kb(), num_now_ms() - start);
    if (status < 0) {
        (void)printf("error %d %s\n", err.code, err.message);
        return 1;
    }
    show(&result);
    free(result.image_json);
    return asked.is_falling ? 3 : 0;
}
