/* Fetching: one flight for all who want the same. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/figures.h"
#include "core/images/inner.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define REMEMBERED_MS  (10 * 60 * 1000) /* how long a failure can be asked for */
#define REMEMBERED_MAX 256
#define UNPACKED       4 /* times as large as it is kept, a guess for the room that it needs */

void flight_put(struct flight *flight)
{
    if (--flight->holders > 0)
        return;
    if (flight->over_fd >= 0)
        (void)close(flight->over_fd);
    call_done(&flight->call);
    image_object_wipe(&flight->from);
    image_object_wipe(&flight->also);
    free(flight->ref);
    free(flight->other_ref);
    free(flight->key);
    free(flight);
}

static void put(struct flight *flight)
{
    struct images *images = flight->images;

    pthread_mutex_lock(&images->mutex);
    flight_put(flight);
    pthread_mutex_unlock(&images->mutex);
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool is_same_object(const struct image_object *a, const struct image_object *b)
{
    return is_same(a->ref, b->ref) && is_same(a->server, b->server) && is_same(a->username, b->username) &&
           is_same(a->password, b->password);
}

/* What is here, anybody may use who may name it (as with every image store); but nobody fails for the credentials of
 * somebody else. */
static struct flight *running(struct images *images, const struct image_wish *wish)
{
    const struct image_object none = {.ref = NULL};
    struct flight *flight;

    TAILQ_FOREACH(flight, &images->flights, link)
        if (!flight->is_over && is_same(flight->ref, wish->ref) && is_same(flight->other_ref, wish->other_ref) &&
            is_same_object(&flight->from, wish->from) &&
            is_same_object(&flight->also, wish->also != NULL ? wish->also : &none))
            return flight;
    return NULL;
}

/* ---- the way there ---- */

static struct runner_object object_of(const struct image_object *object)
{
    return (struct runner_object){.size = sizeof(struct runner_object),
                                  .ref = object->ref,
                                  .server = object->server,
                                  .username = object->username,
                                  .password = object->password};
}

static void on_progress(void *ctx, const struct runner_progress *progress)
{
    struct flight *flight = ctx;

    pthread_mutex_lock(&flight->images->mutex);
    (void)snprintf(flight->phase, sizeof flight->phase, "%s", progress->phase != NULL ? progress->phase : "");
    flight->done_bytes = progress->done_bytes;
    flight->total_bytes = progress->total_bytes;
    pthread_mutex_unlock(&flight->images->mutex);
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
            if (other != flight && !other->is_over && is_same(other->key, key))
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
        put(other);
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
    if (status < 0) {
        images_remove_dir(images, dir);
    } else {
        pthread_mutex_lock(&images->mutex);
        images->stats.fetched_bytes += (uint64_t)base.info.size_bytes;
        pthread_mutex_unlock(&images->mutex);
    }
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
 * says so would cost everybody else's. */
static void make_room(struct flight *flight, int64_t stored_bytes)
{
    struct images *images = flight->images;
    struct figures figures;
    int64_t size;

    figures_refresh(images->engine, &flight->call, &figures);
    size = figures.has.of[RESOURCE_DISK];
    if (size > 0 && stored_bytes <= size / UNPACKED)
        images_collect(images, &flight->call,
                       stored_bytes * UNPACKED + images->host->config->capacity.disk_reserve - figures.disk_free);
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

static int make(struct flight *flight, const char *key, int64_t stored_bytes, struct runner_error *err)
{
    if (claim(flight, key, err) < 0)
        return -1;
    if (images_has_base(flight->images, &flight->call, key))
        return copy(flight, err);
    make_room(flight, stored_bytes);
    return pull(flight, key, err);
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

static int fetch(struct flight *flight, struct runner_error *err)
{
    struct images *images = flight->images;
    struct runner_object_info info = {.size = sizeof info};
    auto_free char *key = NULL;

    if (host_wait_up(images->host, &flight->call, err) < 0 || images_load(images, &flight->call, err) < 0)
        return -1;
    if (is_here(flight))
        return 0;
    if (check_names(flight, err) < 0 || images_inspect(images, &flight->call, &flight->from, &info, err) < 0 ||
        snapshot_check_boot(&flight->call, images->host->config->root, err) < 0) /* it would be fetched in vain */
        return -1;
    key = key_of(images, &info);
    if (complete_also(flight, info.digest, err) < 0 || make(flight, key, info.size_bytes, err) < 0)
        return -1;
    return keep_refs(flight, key, err);
}

static void report(const struct flight *flight)
{
    char ms[24];

    (void)snprintf(ms, sizeof ms, "%lld", (long long)((num_now_us() - flight->begun_us) / 1000));
    log_event(flight->err.code == 0 ? RUNNER_LOG_INFO : RUNNER_LOG_WARN,
              flight->err.code == 0 ? "image.fetched" : "image.failed", "ref", flight->ref, "from", flight->from.ref,
              "also", flight->also.ref, "ms", ms, "error", flight->err.code == 0 ? NULL : flight->err.message, NULL);
}

/* A failure stays to be asked for; so many, and so long. */
static void forget_old(struct images *images)
{
    struct flight *flight, *next;
    int64_t now_ms = num_now_ms();
    size_t n = 0;

    for (flight = TAILQ_LAST(&images->flights, flights); flight != NULL; flight = next) {
        next = TAILQ_PREV(flight, flights, link);
        if (!flight->is_over)
            continue;
        if (flight->err.code != 0 && now_ms - flight->over_ms < REMEMBERED_MS && ++n <= REMEMBERED_MAX)
            continue;
        TAILQ_REMOVE(&images->flights, flight, link);
        flight_put(flight);
    }
}

/* Of earlier failures of the same ref nobody wants to hear any more. */
static void forget_ref(struct images *images, const char *ref)
{
    struct flight *flight, *next;

    for (flight = TAILQ_FIRST(&images->flights); flight != NULL; flight = next) {
        next = TAILQ_NEXT(flight, link);
        if (!flight->is_over || !is_same(flight->ref, ref))
            continue;
        TAILQ_REMOVE(&images->flights, flight, link);
        flight_put(flight);
    }
}

static void run(struct task *task)
{
    struct flight *flight = (struct flight *)task;
    struct images *images = flight->images;
    uint64_t one = 1;

    flight->call.deadline_us = num_now_us() + images->engine->config->timeouts.pull_ms * 1000;
    if (fetch(flight, &flight->err) == 0)
        error_clear(&flight->err);
    report(flight);
    pthread_mutex_lock(&images->mutex);
    flight->is_over = true;
    flight->over_ms = num_now_ms();
    *(flight->err.code == 0 ? &images->stats.done : &images->stats.failed) += 1;
    image_object_forget(&flight->from);
    image_object_forget(&flight->also);
    (void)!write(flight->over_fd, &one, sizeof one);
    flight_put(flight);
    forget_old(images);
    pthread_mutex_unlock(&images->mutex);
}

/* ---- asking for it ---- */

static struct flight *flight_new(struct images *images, const struct image_wish *wish)
{
    struct flight *flight = mem_alloc(sizeof *flight);

    flight->task.run = run;
    flight->task.class = TASK_HEAVY;
    flight->images = images;
    flight->ref = mem_dup(wish->ref);
    flight->other_ref = mem_dup(wish->other_ref);
    image_object_copy(&flight->from, wish->from);
    if (wish->also != NULL)
        image_object_copy(&flight->also, wish->also);
    flight->err.size = sizeof flight->err;
    flight->begun_us = num_now_us();
    flight->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    call_init(&flight->call, images->host, NULL, images->engine->config->timeouts.pull_ms);
    return flight;
}

/* A flight that runs, held for the caller, or NULL. */
static struct flight *join(struct images *images, const struct image_wish *wish, struct runner_error *err)
{
    struct flight *flight;

    if (images->host->instances[RUNNER_STORAGE] == NULL) {
        (void)fail(err, RUNNER_E_NOTSUP, 0, "host '%s' has no storage to fetch '%s' from", images->host->config->name,
                   wish->ref);
        return NULL;
    }
    pthread_mutex_lock(&images->mutex);
    flight = running(images, wish);
    if (flight == NULL) {
        flight = flight_new(images, wish);
        flight->holders = 2; /* the list and the task */
        if (flight->over_fd < 0 || pool_submit(images->engine->pool, NULL, &flight->task, false, err) < 0) {
            if (flight->over_fd < 0)
                (void)fail_errno(err, errno, "begin to fetch '%s'", wish->ref);
            flight->holders = 1;
            flight_put(flight);
            flight = NULL;
        } else {
            forget_ref(images, wish->ref);
            TAILQ_INSERT_TAIL(&images->flights, flight, link);
        }
    }
    if (flight != NULL)
        flight->holders++;
    pthread_mutex_unlock(&images->mutex);
    return flight;
}

static int check(const struct image_wish *wish, struct runner_error *err)
{
    const char *refs[] = {wish->ref, wish->other_ref};

    for (size_t i = 0; i < ARRAY_LEN(refs); i++)
        if (refs[i] != NULL && !text_is_ref(refs[i]))
            return fail(err, RUNNER_E_INVALID, 0, "snapshot '%.100s' is not a reference", refs[i]);
    return 0;
}

int images_begin(struct images *images, const struct image_wish *wish, struct runner_error *err)
{
    struct flight *flight = check(wish, err) == 0 ? join(images, wish, err) : NULL;

    if (flight == NULL)
        return -1;
    put(flight);
    return 0;
}

int images_fetch(struct images *images, struct runner_call *call, const struct image_wish *wish,
                 struct runner_error *err)
{
    struct flight *flight = check(wish, err) == 0 ? join(images, wish, err) : NULL;
    int status = 0;

    if (flight == NULL)
        return -1;
    if (call_wait(call, flight->over_fd, POLLIN, -1) < 0)
        status = fail_errno(err, errno, "image '%s' is still being fetched", wish->ref);
    pthread_mutex_lock(&images->mutex); /* in which it ended */
    if (status == 0 && flight->err.code != 0) {
        error_copy(err, &flight->err);
        status = -1;
    }
    flight_put(flight);
    pthread_mutex_unlock(&images->mutex);
    return status;
}

void images_cancel(struct images *images)
{
    struct flight *flight;

    pthread_mutex_lock(&images->mutex);
    TAILQ_FOREACH(flight, &images->flights, link)
        if (!flight->is_over)
            call_cancel(&flight->call);
    pthread_mutex_unlock(&images->mutex);
}

/* ---- looking ---- */

bool images_failure(struct images *images, const char *ref, struct runner_error *ret)
{
    struct flight *flight;
    bool is_found = false;

    pthread_mutex_lock(&images->mutex);
    forget_old(images);
    TAILQ_FOREACH(flight, &images->flights, link)
        if (flight->is_over && flight->err.code != 0 &&
            (is_same(flight->ref, ref) || is_same(flight->other_ref, ref) || is_same(flight->from.ref, ref))) {
            error_copy(ret, &flight->err);
            is_found = true;
        }
    pthread_mutex_unlock(&images->mutex);
    return is_found;
}

bool images_progress(struct images *images, const char *ref, struct image_progress *ret)
{
    struct flight *flight;
    bool is_found = false;

    pthread_mutex_lock(&images->mutex);
    TAILQ_FOREACH(flight, &images->flights, link)
        if (!flight->is_over && (is_same(flight->ref, ref) || is_same(flight->other_ref, ref))) {
            (void)snprintf(ret->phase, sizeof ret->phase, "%s", flight->phase);
            ret->done_bytes = flight->done_bytes;
            ret->total_bytes = flight->total_bytes;
            ret->seconds = (num_now_us() - flight->begun_us) / 1000000;
            is_found = true;
        }
    pthread_mutex_unlock(&images->mutex);
    return is_found;
}

void images_busy_refs(struct images *images, struct str *ret)
{
    struct flight *flight;

    pthread_mutex_lock(&images->mutex);
    forget_old(images);
    TAILQ_FOREACH(flight, &images->flights, link)
        str_addf(ret, "%s\n", flight->ref);
    pthread_mutex_unlock(&images->mutex);
}
