/* Bases and names that go. */
#include <inttypes.h>
#include <string.h>

#include "core/batch.h"
#include "core/images/inner.h"
#include "core/log.h"

struct base { /* one of those that may be taken away */
    char *key;
    int64_t used_ms; /* 0: it has no name any more */
    int64_t bytes;
};

static int64_t used_ms(struct images *images, const char *key)
{
    struct named *named;
    int64_t ms = 0;

    LIST_FOREACH(named, &images->nameds, link)
        if (named->base != NULL && strcmp(named->base, key) == 0 && named->used_ms > ms)
            ms = named->used_ms;
    return ms;
}

int images_add_removal(const struct images *images, struct runner_batch *batch, const char *ref,
                       struct runner_error *err)
{
    auto_free char *path = mem_printf("%s/snapshots/%s/manifest.json", images->host->config->root, ref);
    size_t top = strlen(images->host->config->root) + strlen("/snapshots");
    uint32_t flags = 0;

    for (char *slash = path + strlen(path); slash > path + top; slash = strrchr(path, '/')) {
        const struct runner_step remove = {
            .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = flags, .path = path};

        *slash = '\0';
        if (batch_add(batch, &remove, err) < 0)
            return -1;
        flags = RUNNER_S_EXCL;
    }
    return 0;
}

/* Its names first: what is left when that breaks off is a base without a name, which goes the next time. */
static int move_away(struct images *images, struct runner_call *call, const char *key, char *refs, const char *to)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *from = images_base_path(images, key, "");
    const struct runner_step rename = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .path = from, .to = to};

    for (char *ref = refs, *end; ref != NULL && (end = strchr(ref, '\n')) != NULL; ref = end + 1) {
        *end = '\0';
        (void)images_add_removal(images, batch, ref, NULL);
    }
    return batch_run_step(call, batch, &rename, NULL);
}

/* Takes it away if nobody uses it; whether it did. */
static bool drop(struct images *images, struct runner_call *call, const char *key)
{
    auto_free char *to = NULL;
    auto_str struct str refs = STR_INIT;
    bool is_free, is_gone;

    pthread_rwlock_wrlock(&images->going);
    pthread_mutex_lock(&images->mutex);
    is_free = images_base_is_free(images, key);
    if (is_free) {
        images_forget_base(images, key, &refs);
        to = mem_printf("%s/bases/" IMAGES_OLD_PREFIX "%" PRId64, images->host->config->root, ++images->last_dir);
    }
    pthread_mutex_unlock(&images->mutex);
    is_gone = is_free && move_away(images, call, key, refs.ptr, to) == 0;
    pthread_rwlock_unlock(&images->going);
    if (!is_gone)
        return false;
    images_remove_dir(images, to);
    log_event(RUNNER_LOG_INFO, "image.dropped", "base", key, NULL);
    return true;
}

static int by_use(const void *a, const void *b)
{
    int64_t x = ((const struct base *)a)->used_ms, y = ((const struct base *)b)->used_ms;

    return x < y ? -1 : x > y;
}

int64_t images_collect(struct images *images, struct runner_call *call, int64_t wanted_bytes)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_result *names = images_list_bases(images, call, batch);
    struct base *bases = NULL;
    int64_t freed_bytes = 0;
    size_t n = 0;

    for (const char *p = names != NULL ? names->out : NULL; p != NULL && p < names->out + names->len;
         p += strlen(p) + 1) {
        if (!snapshot_is_base_key(p))
            continue;
        bases = mem_grow(bases, n + 1, sizeof *bases);
        bases[n] = (struct base){.key = mem_dup(p)};
        pthread_mutex_lock(&images->mutex);
        bases[n++].used_ms = used_ms(images, p);
        pthread_mutex_unlock(&images->mutex);
    }
    if (n > 0)
        qsort(bases, n, sizeof *bases, by_use);
    for (size_t i = 0; i < n; i++) {
        int64_t bytes = 0;
        auto_free char *disk_path = NULL;

        if (bases[i].used_ms > 0 && freed_bytes >= wanted_bytes)
            break;
        disk_path = images_disk_of(images, call, bases[i].key, &bytes);
        if (disk_path != NULL && drop(images, call, bases[i].key)) {
            images_count_gone(images, bytes, bases[i].used_ms > 0);
            freed_bytes += bytes;
        }
    }
    for (size_t i = 0; i < n; i++)
        free(bases[i].key);
    free(bases);
    return freed_bytes;
}
