#include "core/reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "core/log.h"
#include "core/op.h"
#include "core/trim.h"
#include "core/util/error.h"
#include "core/util/num.h"

struct watch {
    uint32_t number; /* descriptors are used again, these are not */
    char id[64];
};

struct reaper {
    struct engine *engine;
    pthread_t thread;
    int epoll_fd, stop_fd;
    pthread_mutex_t mutex;  /* guards what follows, and the watch_fd of every sandbox */
    struct watch **watches; /* by descriptor */
    size_t n_watches;       /* room for */
    uint32_t last_number;
};

/* Called with the lock held: the watch on fd is over; its memory is the caller's. */
static struct watch *take(struct reaper *reaper, int fd)
{
    struct watch *watch = reaper->watches[fd];

    reaper->watches[fd] = NULL;
    epoll_ctl(reaper->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    close(fd);
    return watch;
}

/* The watch of an event, or NULL when it was forgotten meanwhile: who gets it owns the end. */
static struct watch *take_event(struct reaper *reaper, uint64_t data)
{
    struct watch *watch = NULL;
    size_t fd = (uint32_t)data;

    pthread_mutex_lock(&reaper->mutex);
    if (fd < reaper->n_watches && reaper->watches[fd] != NULL && reaper->watches[fd]->number == data >> 32)
        watch = take(reaper, (int)fd);
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
    reaper->watches[fd] = watch;
    event.data.u64 = (uint64_t)watch->number << 32 | (uint32_t)fd;
    return epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void exited(struct reaper *reaper, const char *id)
{
    struct op *op = op_new(reaper->engine, OP_EXITED, id);
    struct runner_error err = ERROR_INIT;

    if (op_submit(op, &err) < 0)
        op_free(op);
}

static void *run(void *arg)
{
    struct reaper *reaper = arg;
    struct epoll_event events[64];
    int64_t trim_at_ms = num_now_ms() + TRIM_EVERY_MS;

    for (;;) {
        int64_t left_ms = trim_at_ms - num_now_ms();
        int n = epoll_wait(reaper->epoll_fd, events, ARRAY_LEN(events), left_ms > 0 ? (int)left_ms : 0);

        if (num_now_ms() >= trim_at_ms) {
            trim_start(reaper->engine);
            trim_at_ms = num_now_ms() + TRIM_EVERY_MS;
        }
        for (int i = 0; i < n; i++) {
            struct watch *watch;
            if (events[i].data.u64 == (uint64_t)reaper->stop_fd)
                return NULL;
            watch = take_event(reaper, events[i].data.u64);
            if (watch != NULL)
                exited(reaper, watch->id);
            free(watch);
        }
    }
}

struct reaper *reaper_new(struct engine *engine)
{
    struct reaper *reaper = mem_alloc(sizeof *reaper);
    struct epoll_event stop = {.events = EPOLLIN};
    sigset_t all, before;
    int status;

    reaper->engine = engine;
    pthread_mutex_init(&reaper->mutex, NULL);
    reaper->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    reaper->stop_fd = eventfd(0, EFD_CLOEXEC);
    stop.data.u64 = (uint64_t)reaper->stop_fd; /* number 0: no watch has it */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, reaper->stop_fd, &stop);
    if (status == 0)
        status = pthread_create(&reaper->thread, NULL, run, reaper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0)
        return reaper;
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
            free(take(reaper, (int)fd));
    free(reaper->watches);
    close(reaper->epoll_fd);
    close(reaper->stop_fd);
    pthread_mutex_destroy(&reaper->mutex);
    free(reaper);
}

void reaper_watch(struct reaper *reaper, struct sandbox *sandbox)
{
    const char *id = sandbox->record->id;
    auto_free char *pid_path = host_sandbox_path(sandbox->host, id, "vmm.pid");
    struct watch *watch = mem_alloc(sizeof *watch);
    struct runner_error err = ERROR_INIT;
    struct runner_call call;
    int fd;

    reaper_forget(reaper, sandbox);
    (void)snprintf(watch->id, sizeof watch->id, "%s", id);
    call_init(&call, sandbox->host, id, 10000);
    if (host_watch(sandbox->host, &call, pid_path, &fd, &err) < 0) {
        if (err.code == RUNNER_E_NOTFOUND)
            exited(reaper, id);
        else
            log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", id, "error", err.message, NULL);
        free(watch);
    } else {
        pthread_mutex_lock(&reaper->mutex);
        sandbox->watch_fd = fd;
        if (add(reaper, watch, fd) < 0)
            log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", id, "error", strerrordesc_np(errno), NULL);
        pthread_mutex_unlock(&reaper->mutex);
    }
    call_done(&call);
}

void reaper_forget(struct reaper *reaper, struct sandbox *sandbox)
{
    struct watch *watch = NULL;

    pthread_mutex_lock(&reaper->mutex);
    /* Its process may have ended, and the descriptor be another's by now. */
    if (sandbox->watch_fd != 0 && reaper->watches[sandbox->watch_fd] != NULL &&
        strcmp(reaper->watches[sandbox->watch_fd]->id, sandbox->record->id) == 0)
        watch = take(reaper, sandbox->watch_fd);
    sandbox->watch_fd = 0;
    pthread_mutex_unlock(&reaper->mutex);
    free(watch);
}
