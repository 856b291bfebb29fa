/* Which refs are here, who holds them. */
#include "core/images/inner.h"

#include <string.h>

#include "core/batch.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"

void image_object_copy(struct image_object *to, const struct image_object *from)
{
    to->ref = mem_dup(from->ref);
    to->server = mem_dup(from->server);
    to->username = mem_dup(from->username);
    to->password = mem_dup(from->password);
}

static void wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void image_object_forget(struct image_object *object)
{
    wipe(&object->username);
    wipe(&object->password);
}

void image_object_wipe(struct image_object *object)
{
    image_object_forget(object);
    wipe(&object->ref);
    wipe(&object->server);
}

struct images *images_new(struct engine *engine, struct host *host)
{
    struct images *images = mem_alloc(sizeof *images);

    images->engine = engine;
    images->host = host;
    pthread_mutex_init(&images->load_mutex, NULL);
    pthread_rwlock_init(&images->going, NULL);
    pthread_mutex_init(&images->mutex, NULL);
    images->last_dir = num_wall_ms();
    LIST_INIT(&images->nameds);
    LIST_INIT(&images->unwanteds);
    LIST_INIT(&images->inspections);
    TAILQ_INIT(&images->flights);
    TAILQ_INIT(&images->queue);
    return images;
}

static void named_free(struct named *named)
{
    LIST_REMOVE(named, link);
    free(named->ref);
    free(named->base);
    free(named);
}

void images_free(struct images *images)
{
    struct unwanted *unwanted;
    struct flight *flight;
    struct named *named;

    if (images == NULL)
        return;
    while ((flight = TAILQ_FIRST(&images->flights)) != NULL) {
        TAILQ_REMOVE(&images->flights, flight, link);
        flight_put(flight);
    }
    while ((named = LIST_FIRST(&images->nameds)) != NULL)
        named_free(named);
    while ((unwanted = LIST_FIRST(&images->unwanteds)) != NULL) {
        LIST_REMOVE(unwanted, link);
        free(unwanted);
    }
    pthread_mutex_destroy(&images->mutex);
    pthread_rwlock_destroy(&images->going);
    pthread_mutex_destroy(&images->load_mutex);
    free(images);
}

struct named *images_named(struct images *images, const char *ref)
{
    struct named *named;

    LIST_FOREACH(named, &images->nameds, link)
        if (strcmp(named->ref, ref) == 0)
            return named;
    return NULL;
}

struct named *images_name(struct images *images, const char *ref, const char *base)
{
    struct named *named = images_named(images, ref);

    if (named == NULL) {
        named = mem_alloc(sizeof *named);
        named->ref = mem_dup(ref);
        LIST_INSERT_HEAD(&images->nameds, named, link);
    }
    if (base != NULL) {
        free(named->base);
        named->base = mem_dup(base);
    }
    return named;
}

/* ---- holding ---- */

static void hold(struct images *images, const char *ref)
{
    struct named *named;

    pthread_mutex_lock(&images->mutex);
    named = images_name(images, ref, NULL);
    named->holds++;
    named->used_ms = num_wall_ms();
    pthread_mutex_unlock(&images->mutex);
}

void images_release(struct images *images, const char *ref)
{
    struct named *named;

    pthread_mutex_lock(&images->mutex);
    named = images_named(images, ref);
    if (named != NULL && --named->holds == 0 && named->base == NULL)
        named_free(named); /* nothing that is to be remembered of it */
    pthread_mutex_unlock(&images->mutex);
}

/* From now on its base stays: the caller holds the name. */
static int find(struct images *images, struct runner_call *call, const char *ref, struct snapshot **ret,
                struct runner_error *err)
{
    int status;

    pthread_rwlock_rdlock(&images->going);
    status = snapshot_find(call, images->host->config->root, ref, ret, err);
    if (status == 0 && (*ret)->base != NULL) {
        pthread_mutex_lock(&images->mutex);
        (void)images_name(images, ref, (*ret)->base);
        pthread_mutex_unlock(&images->mutex);
    }
    pthread_rwlock_unlock(&images->going);
    return status;
}

static int find_or_fetch(struct images *images, struct runner_call *call, const char *ref,
                         const struct image_object *from, struct snapshot **ret, struct runner_error *err)
{
    struct image_wish wish = {.ref = ref, .from = from};
    struct runner_error absent = ERROR_INIT;

    if (find(images, call, ref, ret, err) == 0) {
        images_count_open(images, true);
        return 0;
    }
    if (err->code != RUNNER_E_NOTFOUND)
        return -1;
    error_clear(err);
    if (from == NULL || images->host->instances[RUNNER_STORAGE] == NULL)
        return snapshot_fail_absent(call, images->host->config->root, ref, err);
    images_count_open(images, false);
    if (images_fetch(images, call, &wish, err) == 0 && find(images, call, ref, ret, err) == 0)
        return 0;
    (void)snapshot_fail_absent(call, images->host->config->root, ref, &absent);
    error_append(err, "%s", absent.message); /* it may be a slip of the pen */
    return -1;
}

int images_open(struct images *images, struct runner_call *call, const char *ref, const struct image_object *from,
                struct snapshot **ret, struct runner_error *err)
{
    const char *root = images->host->config->root;
    auto_snapshot struct snapshot *snapshot = NULL;

    hold(images, ref);
    if (find_or_fetch(images, call, ref, from, &snapshot, err) < 0 ||
        snapshot_complete(call, root, snapshot, err) < 0) {
        images_release(images, ref);
        return -1;
    }
    *ret = snapshot;
    snapshot = NULL;
    return 0;
}

/* ---- in the storage ---- */

bool image_is_moving(const char *ref)
{
    const char *slash = strrchr(ref, '/');
    const char *name = slash != NULL ? slash + 1 : ref;
    const char *colon = strchr(name, ':');

    return strchr(name, '@') == NULL && (colon == NULL || strcmp(colon, ":latest") == 0);
}

int images_check_info(const struct runner_object_info *info, struct runner_error *err)
{
    if (strnlen(info->digest, sizeof info->digest) != 64 || strspn(info->digest, "0123456789abcdef") != 64)
        return fail(err, RUNNER_E_IO, 0, "the storage says a digest that is none");
    return info->size_bytes >= 0 ? 0 : fail(err, RUNNER_E_IO, 0, "the storage says a size that is none");
}

int images_inspect(struct images *images, struct runner_call *call, const struct image_object *object,
                   struct runner_object_info *ret, struct runner_error *err)
{
    struct runner_object asked = {.size = sizeof asked,
                                  .ref = object->ref,
                                  .server = object->server,
                                  .username = object->username,
                                  .password = object->password};
    struct waiter waiter = {.call = call};
    int status;

    if (images->host->instances[RUNNER_STORAGE] == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "host '%s' has no storage to ask", images->host->config->name);
    ret->size = sizeof *ret;
    pthread_mutex_lock(&images->mutex);
    LIST_INSERT_HEAD(&images->inspections, &waiter, link);
    pthread_mutex_unlock(&images->mutex);
    status = pool_is_draining(images->engine->pool) /* images_cancel() may have been before */
                 ? fail(err, RUNNER_E_CANCELLED, 0, "not begun")
                 : HOST_CALL(images->host, RUNNER_STORAGE, storage, inspect, call, &asked, ret, err);
    pthread_mutex_lock(&images->mutex);
    LIST_REMOVE(&waiter, link);
    pthread_mutex_unlock(&images->mutex);
    return status < 0 ? -1 : images_check_info(ret, err);
}

/* ---- names ---- */

int images_tag(struct images *images, struct runner_call *call, const char *from, const char *to,
               struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    int status = -1;

    if (images_open(images, call, from, NULL, &snapshot, err) < 0)
        return -1;
    if (snapshot->base == NULL)
        (void)fail(err, RUNNER_E_NOTSUP, 0, "snapshot '%s' was not pulled, and has one name only", from);
    else
        status = images_keep_ref(images, call, snapshot->base, to, err);
    images_release(images, from);
    return status;
}

/* Sandboxes that need a file in a directory: their disk is on top of it, or they boot from it. */
struct search {
    const char *dir;
    bool is_found;
};

static bool is_below(const char *path, const char *dir)
{
    const char *rest;

    return path != NULL && text_starts(path, dir, &rest) && *rest == '/';
}

static void look(const struct sandbox *sandbox, void *ctx)
{
    struct search *search = ctx;
    const struct record *record = sandbox->record;
    const char *const needed[] = {record->disk.backing_path, record->boot.kernel, record->boot.initramfs,
                                  record->boot.firmware};

    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        search->is_found |= is_below(needed[i], search->dir);
}

static bool is_used(struct images *images, const char *dir)
{
    struct search search = {.dir = dir};

    index_each(images->engine->index, look, &search);
    return search.is_found;
}

static int remove_path(struct runner_call *call, const char *path, uint32_t flags, const char *last,
                       struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = flags, .path = path, .to = last};

    return batch_run_step(call, batch, &step, err);
}

/* Whether it could be taken from the books: nobody holds it. */
static bool forget(struct images *images, const char *ref)
{
    struct named *named;
    bool is_free;

    pthread_mutex_lock(&images->mutex);
    named = images_named(images, ref);
    is_free = named == NULL || named->holds == 0;
    if (named != NULL && is_free)
        named_free(named);
    pthread_mutex_unlock(&images->mutex);
    return is_free;
}

/* Nobody else looks meanwhile. 1: it is in use. A create that has let go of it by now has its disk. */
static int take_away(struct images *images, struct runner_call *call, const struct snapshot *snapshot,
                     struct runner_error *err)
{
    auto_free char *dir = mem_printf("%s/snapshots/%s", images->host->config->root, snapshot->ref);
    auto_batch struct runner_batch *batch = batch_new(call);

    if (!forget(images, snapshot->ref) || (snapshot->base == NULL && is_used(images, dir)))
        return 1;
    if (snapshot->base == NULL)
        return remove_path(call, dir, RUNNER_S_TREE, "manifest.json", err);
    /* Other refs may be below, so only what is empty goes with its manifest. */
    return images_add_removal(images, batch, snapshot->ref, err) < 0 ? -1 : batch_run(call, batch, err);
}

int images_remove(struct images *images, struct runner_call *call, const char *ref, bool *ret_is_kept,
                  struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    int status;

    *ret_is_kept = false;
    if (images_load(images, call, err) < 0)
        return -1;
    pthread_mutex_lock(&images->mutex);
    flights_forget(images, ref);
    pthread_mutex_unlock(&images->mutex);
    pthread_rwlock_wrlock(&images->going);
    status = snapshot_find(call, images->host->config->root, ref, &snapshot, err);
    if (status == 0)
        status = take_away(images, call, snapshot, err);
    pthread_rwlock_unlock(&images->going);
    if (status < 0 && err->code == RUNNER_E_NOTFOUND) {
        error_clear(err);
        return 0;
    }
    if (status < 0)
        return -1;
    if (status > 0) {
        log_event(RUNNER_LOG_INFO, "image.kept", "ref", ref, "why", "in use", NULL);
        *ret_is_kept = true;
        return 0;
    }
    (void)images_collect(images, call, 0);
    log_event(RUNNER_LOG_INFO, "image.removed", "ref", ref, NULL);
    return 0;
}

bool images_base_is_free(struct images *images, const char *key)
{
    auto_free char *dir = images_base_path(images, key, "");
    struct flight *flight;
    struct named *named;

    LIST_FOREACH(named, &images->nameds, link)
        if (named->holds > 0 && named->base != NULL && strcmp(named->base, key) == 0)
            return false;
    TAILQ_FOREACH(flight, &images->flights, link)
        if (!flight->is_over && flight->key != NULL && strcmp(flight->key, key) == 0)
            return false;
    return !is_used(images, dir);
}

void images_forget_base(struct images *images, const char *key, struct str *ret_refs)
{
    struct named *named, *next;

    for (named = LIST_FIRST(&images->nameds); named != NULL; named = next) {
        next = LIST_NEXT(named, link);
        if (named->base == NULL || strcmp(named->base, key) != 0)
            continue;
        str_addf(ret_refs, "%s\n", named->ref);
        named_free(named);
    }
}
