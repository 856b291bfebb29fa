/* What a flight does: from a ref to a base with its names. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "core/figures.h"
#include "core/images/inner.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define UNPACKED     4  /* times as large as it is kept, a guess for the room that it needs ... */
#define UNPACKED_MAX 64 /* ... and the most that room is made for, when that was too little */

static struct runner_object object_of(const struct image_object *object)
{
    return (struct runner_object){.size = sizeof(struct runner_object),
                                  .ref = object->ref,
                                  .server = object->server,
                                  .username = object->username,
                                  .password = object->password};
}

static void set_phase(struct flight *flight, const char *phase, uint64_t done_bytes, uint64_t total_bytes)
{
    pthread_mutex_lock(&flight->images->mutex);
    (void)snprintf(flight->progress.phase, sizeof flight->progress.phase, "%s", phase != NULL ? phase : "");
    flight->progress.done_bytes = done_bytes;
    flight->progress.total_bytes = total_bytes;
    pthread_mutex_unlock(&flight->images->mutex);
}

static void on_progress(void *ctx, const struct runner_progress *progress)
{
    set_phase(ctx, progress->phase, progress->done_bytes, progress->total_bytes);
}

/* Whoever makes the same base now is waited for: two would fetch it twice. */
static int claim(struct flight *flight, const char *key, struct runner_error *err)
{
    struct images *images = flight->images;

    for (;;) {
        struct flight *other;
        int events, saved;

        pthread_mutex_lock(&images->mutex);
        TAILQ_FOREACH(other, &images->flights, link)
            if (other != flight && !other->is_over && other->key != NULL && strcmp(other->key, key) == 0)
                break;
        if (other == NULL) {
            free(flight->key);
            flight->key = mem_dup(key);
            pthread_mutex_unlock(&images->mutex);
            return 0;
        }
        other->holders++;
        pthread_mutex_unlock(&images->mutex);
        events = call_wait(&flight->call, other->over_fd, POLLIN, -1);
        saved = errno;
        pthread_mutex_lock(&images->mutex);
        flight_put(other);
        pthread_mutex_unlock(&images->mutex);
        if (events < 0)
            return fail_errno(err, saved, "wait for the same image");
    }
}

/* A version is as its plugin's author likes. */
static char *key_of(const struct images *images, const struct runner_object_info *info)
{
    const struct plugin *plugin = images->host->instances[RUNNER_STORAGE]->plugin;
    char *key = mem_printf("%.64s-%.32s-%.30s", info->digest, plugin->desc.name, plugin->desc.version);

    for (char *p = key; *p != '\0'; p++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", *p) == NULL)
            *p = '-';
    return key;
}

static void base_done(struct runner_base *base)
{
    const struct runner_host *host = host_services();

    host->release((void *)base->disk);
    host->release((void *)base->format);
    host->release((void *)base->image_json);
}

static void count_pulled(struct flight *flight, int64_t stored_bytes)
{
    pthread_mutex_lock(&flight->images->mutex);
    flight->images->stats.fetched_bytes += (uint64_t)stored_bytes;
    flight->has_pulled = true;
    pthread_mutex_unlock(&flight->images->mutex);
}

static int pull(struct flight *flight, const char *key, struct runner_error *err)
{
    struct images *images = flight->images;
    struct runner_object from = object_of(&flight->from), also = object_of(&flight->also);
    struct runner_base base = {.size = sizeof base, .info = {.size = sizeof base.info}};
    auto_free char *dir = images_make_dir(images, &flight->call, err);
    auto_free char *made = NULL;
    int status;

    if (dir == NULL)
        return -1;
    status = HOST_CALL(images->host, RUNNER_STORAGE, storage, pull, &flight->call, &from,
                       flight->also.ref != NULL ? &also : NULL, dir, on_progress, flight, &base, err);
    if (status == 0)
        status = images_check_info(&base.info, err);
    if (status == 0) { /* the ref may have moved on since it was looked up */
        made = key_of(images, &base.info);
        status = strcmp(made, key) == 0 ? 0
                                        : fail(err, RUNNER_E_BUSY, 0, "image '%s' changed meanwhile", flight->from.ref);
    }
    if (status == 0)
        status = images_keep_base(images, &flight->call, dir, key, &base, err);
    if (status < 0)
        images_remove_dir(images, dir);
    else
        count_pulled(flight, base.info.size_bytes);
    base_done(&base);
    return status;
}

static int copy(struct flight *flight, struct runner_error *err)
{
    struct runner_object from = object_of(&flight->from), also = object_of(&flight->also);
    struct runner_object_info info = {.size = sizeof info};

    if (flight->also.ref == NULL)
        return 0;
    return HOST_CALL(flight->images->host, RUNNER_STORAGE, storage, copy, &flight->call, &from, &also, on_progress,
                     flight, &info, err);
}

/* A file system that is full of bases that nobody uses has room. What could not be on it at all makes none: an image that
 * says so would cost everybody else's. How many bytes were freed. */
static int64_t make_room(struct flight *flight, int64_t stored_bytes, int64_t unpacked)
{
    struct images *images = flight->images;
    struct figures figures;
    int64_t size;

    figures_refresh(images->engine, &flight->call, &figures);
    size = figures.has.of[RESOURCE_DISK];
    if (size <= 0 || stored_bytes > size / unpacked)
        return 0;
    return images_collect(images, &flight->call,
                          stored_bytes * unpacked + images->host->config->capacity.disk_reserve - figures.disk_free);
}

/* What the disk was too small for is tried again with more room, where that can be made. */
static int pull_with_room(struct flight *flight, const char *key, int64_t stored_bytes, struct runner_error *err)
{
    int64_t unpacked = UNPACKED;
    int status;

    (void)make_room(flight, stored_bytes, unpacked);
    while ((status = pull(flight, key, err)) < 0 && err->code == RUNNER_E_NOSPACE) {
        do
            unpacked *= 2;
        while (unpacked <= UNPACKED_MAX && make_room(flight, stored_bytes, unpacked) == 0);
        if (unpacked > UNPACKED_MAX)
            break;
        error_clear(err);
    }
    return status;
}

/* "registry/daytona/daytona-": which digest it is was not known when it was asked for. */
static int complete_also(struct flight *flight, const char *digest, struct runner_error *err)
{
    char *ref = flight->also.ref;
    size_t len = ref != NULL ? strlen(ref) : 0;

    if (len == 0 || ref[len - 1] != '-')
        return 0;
    ref = mem_printf("%s%.64s:daytona", flight->also.ref, digest);
    pthread_mutex_lock(&flight->images->mutex); /* others read it */
    free(flight->also.ref);
    flight->also.ref = ref;
    pthread_mutex_unlock(&flight->images->mutex);
    return text_is_ref(ref) ? 0 : fail(err, RUNNER_E_INVALID, 0, "'%.100s' is not a snapshot reference", ref);
}

static int keep_refs(struct flight *flight, const char *key, struct runner_error *err)
{
    const char *refs[] = {flight->ref, flight->other_ref, flight->also.ref};

    for (size_t i = 0; i < ARRAY_LEN(refs); i++)
        if (refs[i] != NULL && images_keep_ref(flight->images, &flight->call, key, refs[i], err) < 0)
            return -1;
    return 0;
}

/* From its turn on it has all of its time. */
static int make(struct flight *flight, const char *key, int64_t stored_bytes, struct runner_error *err)
{
    struct images *images = flight->images;
    bool has_base;
    int status;

    set_phase(flight, "wait", 0, 0);
    if (claim(flight, key, err) < 0)
        return -1;
    has_base = images_has_base(images, &flight->call, key);
    if (has_base && flight->also.ref == NULL)
        return 0;
    if (turn_take(flight, err) < 0)
        return -1;
    flight->call.deadline_us = num_now_us() + images->engine->config->timeouts.pull_ms * 1000;
    status = has_base ? copy(flight, err) : pull_with_room(flight, key, stored_bytes, err);
    turn_give(images);
    return status;
}

/* Whether all that is wanted is here. A snapshot of the host's own is what its name means, tag or no tag. */
static bool is_here(struct flight *flight)
{
    auto_snapshot struct snapshot *snapshot = NULL;

    return flight->also.ref == NULL && flight->other_ref == NULL &&
           snapshot_find(&flight->call, flight->images->host->config->root, flight->ref, &snapshot, NULL) == 0 &&
           (snapshot->base == NULL || !image_is_moving(flight->ref));
}

static int check_names(struct flight *flight, struct runner_error *err)
{
    const char *refs[] = {flight->ref, flight->other_ref, flight->also.ref};

    for (size_t i = 0; i < ARRAY_LEN(refs); i++)
        if (refs[i] != NULL && refs[i][strlen(refs[i]) - 1] != '-' &&
            images_check_name(flight->images, &flight->call, refs[i], err) < 0)
            return -1;
    return 0;
}

int flight_fetch(struct flight *flight, struct runner_error *err)
{
    struct images *images = flight->images;
    struct runner_object_info info = {.size = sizeof info};
    auto_free char *key = NULL;

    if (host_wait_up(images->host, &flight->call, err) < 0 || images_load(images, &flight->call, err) < 0)
        return -1;
    if (is_here(flight))
        return 0;
    set_phase(flight, "resolve", 0, 0);
    if (check_names(flight, err) < 0 || images_inspect(images, &flight->call, &flight->from, &info, err) < 0 ||
        snapshot_check_boot(&flight->call, images->host->config->root, err) < 0) /* it would be fetched in vain */
        return -1;
    key = key_of(images, &info);
    if (complete_also(flight, info.digest, err) < 0 || make(flight, key, info.size_bytes, err) < 0)
        return -1;
    return keep_refs(flight, key, err);
}

