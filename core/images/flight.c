/* Fetching: one flight for all who want the same; who waits for it, and how it ended. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/images/inner.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define REMEMBERED_MS  (10 * 60 * 1000) /* how long a failure can be asked for */
#define REMEMBERED_MAX 256

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

/* ---- its way ---- */

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

void flights_forget(struct images *images, const char *ref)
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
    if (flight_fetch(flight, &flight->err) == 0)
        error_clear(&flight->err);
    report(flight);
    pthread_mutex_lock(&images->mutex);
    flight->is_over = true;
    flight->over_ms = num_now_ms();
    images_count_flight(flight);
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
    LIST_INIT(&flight->waiters);
    flight->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    call_init(&flight->call, images->host, NULL, images->engine->config->timeouts.pull_ms);
    return flight;
}

/* A flight that runs, held for the caller, or NULL. entry: of the task of one that is not under way yet. */
static struct flight *join(struct images *images, const struct image_wish *wish, enum pool_entry entry,
                           struct runner_error *err)
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
        if (flight->over_fd < 0 || pool_submit(images->engine->pool, NULL, &flight->task, entry, err) < 0) {
            if (flight->over_fd < 0)
                (void)fail_errno(err, errno, "begin to fetch '%s'", wish->ref);
            flight->holders = 1;
            flight_put(flight);
            flight = NULL;
        } else {
            flights_forget(images, wish->ref);
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
    struct flight *flight = check(wish, err) == 0 ? join(images, wish, POOL_ASKED, err) : NULL;

    if (flight == NULL)
        return -1;
    put(flight);
    return 0;
}

/* ---- waiting for it ---- */

static struct unwanted *find_unwanted(struct images *images, const char *id)
{
    struct unwanted *unwanted;

    LIST_FOREACH(unwanted, &images->unwanteds, link)
        if (strcmp(unwanted->id, id) == 0)
            return unwanted;
    return NULL;
}

/* So that what begins to wait from now on does not, and what waits does no longer. */
void images_abandon(struct images *images, const char *id)
{
    struct unwanted *unwanted;
    struct flight *flight;
    struct waiter *waiter;

    pthread_mutex_lock(&images->mutex);
    unwanted = find_unwanted(images, id);
    if (unwanted == NULL) {
        unwanted = mem_alloc(sizeof *unwanted);
        (void)snprintf(unwanted->id, sizeof unwanted->id, "%s", id);
        LIST_INSERT_HEAD(&images->unwanteds, unwanted, link);
    }
    unwanted->n++;
    TAILQ_FOREACH(flight, &images->flights, link)
        LIST_FOREACH(waiter, &flight->waiters, link)
            if (waiter->call->id != NULL && strcmp(waiter->call->id, id) == 0)
                call_cancel(waiter->call);
    pthread_mutex_unlock(&images->mutex);
}

void images_abandon_over(struct images *images, const char *id)
{
    struct unwanted *unwanted;

    pthread_mutex_lock(&images->mutex);
    unwanted = find_unwanted(images, id);
    if (unwanted != NULL && --unwanted->n == 0) {
        LIST_REMOVE(unwanted, link);
        free(unwanted);
    }
    pthread_mutex_unlock(&images->mutex);
}

/* Joins those who wait; the caller of images_fetch() does not, when the sandbox that it is for is to be destroyed. */
static bool begin_to_wait(struct flight *flight, struct waiter *waiter)
{
    struct images *images = flight->images;
    bool is_wanted;

    pthread_mutex_lock(&images->mutex);
    is_wanted = waiter->call->id == NULL || find_unwanted(images, waiter->call->id) == NULL;
    if (is_wanted)
        LIST_INSERT_HEAD(&flight->waiters, waiter, link);
    pthread_mutex_unlock(&images->mutex);
    return is_wanted;
}

/* How long an image takes says nothing of the rest that the call is for: its time stands still meanwhile, and what ends
 * the wait is the time of a pull. Returns 0 or an errno. */
static int wait_over(struct flight *flight, struct runner_call *call)
{
    int64_t begin_us = num_now_us(), deadline_us = call->deadline_us;
    int saved = 0;

    call->deadline_us = begin_us + flight->images->engine->config->timeouts.pull_ms * 1000;
    if (call_wait(call, flight->over_fd, POLLIN, -1) < 0)
        saved = errno;
    call->deadline_us = deadline_us + (num_now_us() - begin_us);
    return saved;
}

static int fail_waiting(struct flight *flight, int saved, bool is_wanted, struct runner_error *err)
{
    struct image_progress p;

    if (!is_wanted)
        return fail(err, RUNNER_E_BUSY, 0, "image '%s' is not waited for: the sandbox is being destroyed", flight->ref);
    if (saved != ETIMEDOUT)
        return fail_errno(err, saved, "wait for image '%s'", flight->ref);
    if (!images_progress(flight->images, flight->ref, &p))
        return fail_errno(err, saved, "image '%s'", flight->ref);
    (void)fail(err, RUNNER_E_TIMEOUT, 0,
               "image '%s' is still being fetched (%s, %" PRIu64 " of %" PRIu64 " MiB, after %" PRId64
               " s): that goes on, for who asks again",
               flight->ref, p.phase, p.done_bytes >> 20, p.total_bytes >> 20, p.seconds);
    err->retry = 1;
    return -1;
}

int images_fetch(struct images *images, struct runner_call *call, const struct image_wish *wish,
                 struct runner_error *err)
{
    struct flight *flight = check(wish, err) == 0 ? join(images, wish, POOL_COUNTED, err) : NULL;
    struct waiter waiter = {.call = call};
    bool has_waited, is_wanted;
    int saved = 0, status = 0;

    if (flight == NULL)
        return -1;
    has_waited = begin_to_wait(flight, &waiter);
    if (has_waited)
        saved = wait_over(flight, call);
    pthread_mutex_lock(&images->mutex); /* in which it ended */
    if (has_waited)
        LIST_REMOVE(&waiter, link);
    is_wanted = call->id == NULL || find_unwanted(images, call->id) == NULL;
    if (has_waited && saved == 0 && flight->err.code != 0) {
        error_copy(err, &flight->err);
        status = -1;
    }
    pthread_mutex_unlock(&images->mutex);
    if (!has_waited || saved != 0)
        status = fail_waiting(flight, saved, is_wanted, err);
    put(flight);
    return status;
}

void images_cancel(struct images *images)
{
    struct flight *flight;
    struct waiter *waiter;

    pthread_mutex_lock(&images->mutex);
    TAILQ_FOREACH(flight, &images->flights, link)
        if (!flight->is_over)
            call_cancel(&flight->call);
    LIST_FOREACH(waiter, &images->inspections, link)
        call_cancel(waiter->call);
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
        if (!flight->is_over && (is_same(flight->ref, ref) || is_same(flight->other_ref, ref)) &&
            (!is_found || flight->progress.done_bytes >= ret->done_bytes)) {
            *ret = flight->progress;
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
