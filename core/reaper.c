#include "core/reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "core/later.h"
#include "core/log.h"
#include "core/checkup.h"
#include "core/op.h"
#include "core/trim.h"
#include "core/util/error.h"
#include "core/util/fd.h"
#include "core/util/num.h"
#include "core/vm.h"

enum { AGAIN_MIN_MS = 250, AGAIN_MAX_MS = 60000 };

/* Of the end of a process, or with a stream of what its VMM says. */
struct watch {
    uint32_t number; /* descriptors are used again, these are not */
    char id[64];
    int fd;
    struct instance *vmm;
    void *stream;
    bool is_read, is_forgotten; /* the thread is at it: who forgets it then leaves it to the thread */
    bool has_panicked;          /* which is dealt with once, however often it is said */
};

struct reaper {
    struct engine *engine;
    pthread_t thread;
    int epoll_fd, stop_fd;
    pthread_mutex_t mutex;  /* guards what follows, and the watch_fd of every sandbox */
    struct watch **watches; /* by descriptor */
    size_t n_watches;       /* room for */
    uint32_t last_number;
    struct later *later; /* ids to be recovered again */
};

static void watch_free(struct watch *watch)
{
    if (watch == NULL)
        return;
    if (watch->stream != NULL)
        watch->vmm->plugin->ops.vmm.unlisten(watch->vmm->self, watch->stream);
    else
        close(watch->fd);
    free(watch);
}

/* Called with the lock held: nobody hears of the watch on fd any more; it is the caller's. */
static struct watch *take(struct reaper *reaper, int fd)
{
    struct watch *watch = reaper->watches[fd];

    reaper->watches[fd] = NULL;
    epoll_ctl(reaper->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    return watch;
}

/* The watch of an event, or NULL when it was forgotten meanwhile. That of an end is the caller's: who gets it owns the
 * end; a stream stays in the table, being read. */
static struct watch *take_event(struct reaper *reaper, uint64_t data)
{
    struct watch *watch = NULL;
    size_t fd = (uint32_t)data;

    pthread_mutex_lock(&reaper->mutex);
    if (fd < reaper->n_watches && reaper->watches[fd] != NULL && reaper->watches[fd]->number == data >> 32) {
        watch = reaper->watches[fd];
        if (watch->stream == NULL)
            (void)take(reaper, (int)fd);
        else
            watch->is_read = true;
    }
    pthread_mutex_unlock(&reaper->mutex);
    return watch;
}

/* Called with the lock held. */
static int add(struct reaper *reaper, struct watch *watch, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    if ((size_t)fd >= reaper->n_watches) {
        size_t n = (size_t)fd + 64;
        reaper->watches = mem_grow(reaper->watches, n, sizeof *reaper->watches);
        memset(reaper->watches + reaper->n_watches, 0, (n - reaper->n_watches) * sizeof *reaper->watches);
        reaper->n_watches = n;
    }
    watch->number = ++reaper->last_number;
    watch->fd = fd;
    reaper->watches[fd] = watch;
    event.data.u64 = (uint64_t)watch->number << 32 | (uint32_t)fd;
    return epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void submit(struct reaper *reaper, enum op_kind kind, const char *id)
{
    struct op *op = op_new(reaper->engine, kind, id);
    struct runner_error err = ERROR_INIT;

    if (op_submit(op, &err) < 0)
        op_free(op);
}

/* Called with the lock held: the thread is done with it. The watch when it is over, to be freed. */
static struct watch *put_back(struct reaper *reaper, struct watch *watch, bool is_broken)
{
    watch->is_read = false;
    if (watch->is_forgotten)
        return watch;
    return is_broken ? take(reaper, watch->fd) : NULL;
}

/* Sets one of the sandbox's marks, which tell how its machine ended. */
static void mark(struct reaper *reaper, const char *id, bool is_heard, bool has_said_end)
{
    struct sandbox *sandbox = index_get(reaper->engine->index, id);

    if (sandbox == NULL)
        return;
    pthread_mutex_lock(&reaper->mutex);
    sandbox->is_heard = is_heard;
    sandbox->has_said_end = has_said_end;
    pthread_mutex_unlock(&reaper->mutex);
    index_put(reaper->engine->index, sandbox);
}

static void hear(struct reaper *reaper, struct watch *watch)
{
    struct runner_vm_event event = {.size = sizeof event};
    struct runner_error err = ERROR_INIT;
    struct watch *over;
    int n;

    while ((n = watch->vmm->plugin->ops.vmm.next(watch->vmm->self, watch->stream, &event, &err)) > 0) {
        log_event(RUNNER_LOG_DEBUG, "vm.event", "id", watch->id, "event", event.text, NULL);
        if (event.kind == RUNNER_VM_EVENT_PANIC && !watch->has_panicked) {
            watch->has_panicked = true;
            submit(reaper, OP_PANICKED, watch->id);
        } else if (event.kind == RUNNER_VM_EVENT_SHUTDOWN)
            mark(reaper, watch->id, true, true);
    }
    if (n < 0 && err.code != RUNNER_E_UNREACHABLE) {
        log_event(RUNNER_LOG_WARN, "vm.events_lost", "id", watch->id, "error", err.message, NULL);
        mark(reaper, watch->id, false, false);
    }
    pthread_mutex_lock(&reaper->mutex);
    over = put_back(reaper, watch, n < 0);
    pthread_mutex_unlock(&reaper->mutex);
    watch_free(over);
}

/* The stream of the sandbox, being read from now on; NULL: nobody listens. */
static struct watch *take_stream(struct reaper *reaper, struct sandbox *sandbox)
{
    struct watch *watch;

    pthread_mutex_lock(&reaper->mutex);
    watch = sandbox->event_fd != 0 ? reaper->watches[sandbox->event_fd] : NULL;
    if (watch != NULL && strcmp(watch->id, sandbox->record->id) == 0 && watch->stream != NULL)
        watch->is_read = true;
    else
        watch = NULL;
    pthread_mutex_unlock(&reaper->mutex);
    return watch;
}

/* A process has ended: what it said last tells how. */
static void ended(struct reaper *reaper, const char *id)
{
    struct sandbox *sandbox = index_get(reaper->engine->index, id);
    struct op *op = op_new(reaper->engine, OP_EXITED, id);
    struct runner_error err = ERROR_INIT;
    struct watch *stream = sandbox != NULL ? take_stream(reaper, sandbox) : NULL;

    if (stream != NULL)
        hear(reaper, stream);
    if (sandbox != NULL) {
        pthread_mutex_lock(&reaper->mutex);
        op->is_heard = sandbox->is_heard;
        op->has_said_end = sandbox->has_said_end;
        pthread_mutex_unlock(&reaper->mutex);
    }
    index_put(reaper->engine->index, sandbox);
    if (op_submit(op, &err) < 0)
        op_free(op);
}

static void recover_due(struct reaper *reaper)
{
    char *id;

    while ((id = later_take(reaper->later)) != NULL) {
        submit(reaper, OP_RECOVER, id);
        free(id);
    }
}

static void *run(void *arg)
{
    struct reaper *reaper = arg;
    struct epoll_event events[64];
    int64_t trim_at_ms = num_now_ms() + TRIM_EVERY_MS;

    for (;;) {
        int64_t check_ms = checkup_step(reaper->engine), trim_ms = trim_at_ms - num_now_ms();
        int64_t left_ms = check_ms < trim_ms ? check_ms : trim_ms;
        int n = epoll_wait(reaper->epoll_fd, events, ARRAY_LEN(events), left_ms > 0 ? (int)left_ms : 0);

        if (num_now_ms() >= trim_at_ms) {
            trim_start(reaper->engine);
            trim_at_ms = num_now_ms() + TRIM_EVERY_MS;
        }
        for (int i = 0; i < n; i++) {
            struct watch *watch;
            if (events[i].data.u64 == (uint64_t)reaper->stop_fd)
                return NULL;
            if (events[i].data.u64 == (uint64_t)later_fd(reaper->later)) {
                recover_due(reaper);
                continue;
            }
            watch = take_event(reaper, events[i].data.u64);
            if (watch != NULL && watch->stream != NULL) {
                hear(reaper, watch);
            } else if (watch != NULL) {
                ended(reaper, watch->id);
                watch_free(watch);
            }
        }
    }
}

struct reaper *reaper_new(struct engine *engine)
{
    struct reaper *reaper = mem_alloc(sizeof *reaper);
    struct epoll_event stop = {.events = EPOLLIN}, due = {.events = EPOLLIN};
    sigset_t all, before;
    int status;

    reaper->engine = engine;
    pthread_mutex_init(&reaper->mutex, NULL);
    reaper->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    reaper->stop_fd = eventfd(0, EFD_CLOEXEC);
    reaper->later = later_new();
    stop.data.u64 = (uint64_t)reaper->stop_fd; /* number 0: no watch has it */
    due.data.u64 = reaper->later != NULL ? (uint64_t)later_fd(reaper->later) : 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, reaper->stop_fd, &stop);
    if (status == 0)
        status = reaper->later == NULL ? -1 : epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, later_fd(reaper->later), &due);
    if (status == 0)
        status = pthread_create(&reaper->thread, NULL, run, reaper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0)
        return reaper;
    later_free(reaper->later);
    close(reaper->epoll_fd);
    close(reaper->stop_fd);
    free(reaper);
    return NULL;
}

void reaper_stop(struct reaper *reaper)
{
    uint64_t one = 1;

    (void)!write(reaper->stop_fd, &one, sizeof one);
    pthread_join(reaper->thread, NULL);
}

void reaper_free(struct reaper *reaper)
{
    if (reaper == NULL)
        return;
    for (size_t fd = 0; fd < reaper->n_watches; fd++)
        if (reaper->watches[fd] != NULL)
            watch_free(take(reaper, (int)fd));
    free(reaper->watches);
    later_free(reaper->later);
    close(reaper->epoll_fd);
    close(reaper->stop_fd);
    pthread_mutex_destroy(&reaper->mutex);
    free(reaper);
}

void reaper_again(struct reaper *reaper, struct sandbox *sandbox)
{
    int64_t ms;

    pthread_mutex_lock(&reaper->mutex);
    ms = sandbox->retry_ms * 2;
    ms = ms < AGAIN_MIN_MS ? AGAIN_MIN_MS : ms > AGAIN_MAX_MS ? AGAIN_MAX_MS : ms;
    sandbox->retry_ms = ms;
    pthread_mutex_unlock(&reaper->mutex);
    later_add(reaper->later, sandbox->record->id, ms);
}

void reaper_settled(struct reaper *reaper, struct sandbox *sandbox)
{
    pthread_mutex_lock(&reaper->mutex);
    if (!sandbox->is_unwatched)
        sandbox->retry_ms = 0;
    pthread_mutex_unlock(&reaper->mutex);
}

/* It is looked at again, and its retries get no shorter by what else succeeds. */
static void set_unwatched(struct reaper *reaper, struct sandbox *sandbox)
{
    pthread_mutex_lock(&reaper->mutex);
    sandbox->is_unwatched = true;
    pthread_mutex_unlock(&reaper->mutex);
    reaper_again(reaper, sandbox);
}

/* Puts it into the table; its descriptor becomes the sandbox's. -1: it is not watched, and freed. */
static int watch_add(struct reaper *reaper, struct watch *watch, int fd, int *ret_fd)
{
    int status;

    pthread_mutex_lock(&reaper->mutex);
    status = add(reaper, watch, fd);
    if (status == 0)
        *ret_fd = fd;
    else
        reaper->watches[fd] = NULL;
    pthread_mutex_unlock(&reaper->mutex);
    if (status == 0)
        return 0;
    log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", watch->id, "error", strerrordesc_np(errno), NULL);
    watch_free(watch);
    return -1;
}

static struct watch *watch_new(const char *id)
{
    struct watch *watch = mem_alloc(sizeof *watch);

    (void)snprintf(watch->id, sizeof watch->id, "%s", id);
    return watch;
}

/* 0, or -1: its end cannot be noticed. One that has ended already is noticed at once. */
static int watch_exit(struct reaper *reaper, struct sandbox *sandbox, struct runner_call *call)
{
    const char *id = sandbox->record->id;
    auto_free char *pid_path = host_sandbox_path(sandbox->host, id, "vmm.pid");
    struct runner_error err = ERROR_INIT;
    int fd;

    if (host_watch(sandbox->host, call, pid_path, &fd, &err) == 0)
        return watch_add(reaper, watch_new(id), fd_park(fd), &sandbox->watch_fd);
    if (err.code == RUNNER_E_NOTFOUND) {
        submit(reaper, OP_EXITED, id);
        return 0;
    }
    log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", id, "error", err.message, NULL);
    return -1;
}

/* A machine whose words are not heard is watched all the same: its end is. */
static void watch_events(struct reaper *reaper, struct sandbox *sandbox, struct runner_call *call)
{
    struct instance *vmm = host_vmm(sandbox->host, sandbox->record->vmm.plugin);
    auto_vm_view struct vm_view view = {0};
    struct runner_error err = ERROR_INIT;
    struct watch *watch;
    int fd;

    if (vmm == NULL || !(vmm->plugin->desc.caps & RUNNER_VMM_CAP_EVENTS))
        return;
    watch = watch_new(sandbox->record->id);
    watch->vmm = vmm;
    vm_view_init(&view, sandbox->host, sandbox->record);
    if (INSTANCE_CALL(vmm, vmm, listen, call, &view.vm, &watch->stream, &fd, &err) == 0) {
        sandbox->is_heard = true; /* before its first word can be */
        if (watch_add(reaper, watch, fd, &sandbox->event_fd) < 0)
            sandbox->is_heard = false;
        return;
    }
    /* One that another program started writes its events to nobody. */
    log_event(err.code == RUNNER_E_NOTFOUND && sandbox->record->taken_over_ms != 0 ? RUNNER_LOG_DEBUG : RUNNER_LOG_WARN,
              "vm.events_lost", "id", sandbox->record->id, "error", err.message, NULL);
    free(watch);
}

void reaper_watch(struct reaper *reaper, struct sandbox *sandbox)
{
    struct runner_call call;

    reaper_forget(reaper, sandbox);
    call_init_alone(&call, sandbox->host, sandbox->record->id, 10000);
    watch_events(reaper, sandbox, &call);
    if (watch_exit(reaper, sandbox, &call) < 0)
        set_unwatched(reaper, sandbox);
    call_done(&call);
}

/* Called with the lock held. Its process may have ended, and the descriptor be another's by now. */
static struct watch *forget(struct reaper *reaper, const char *id, int *fd)
{
    struct watch *watch = *fd != 0 ? reaper->watches[*fd] : NULL;

    *fd = 0;
    if (watch == NULL || strcmp(watch->id, id) != 0)
        return NULL;
    (void)take(reaper, watch->fd);
    watch->is_forgotten = true;
    return watch->is_read ? NULL : watch;
}

void reaper_forget(struct reaper *reaper, struct sandbox *sandbox)
{
    struct watch *exit_watch, *events;

    pthread_mutex_lock(&reaper->mutex);
    exit_watch = forget(reaper, sandbox->record->id, &sandbox->watch_fd);
    events = forget(reaper, sandbox->record->id, &sandbox->event_fd);
    sandbox->is_heard = sandbox->has_said_end = sandbox->is_unwatched = false;
    pthread_mutex_unlock(&reaper->mutex);
    watch_free(exit_watch);
    watch_free(events);
}
