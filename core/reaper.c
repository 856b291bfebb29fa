#include "core/reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "core/log.h"
#include "core/op.h"
#include "core/util/error.h"

struct watch {
    int fd;
    char id[64];
    struct watch *next;
};

struct reaper {
    struct engine *engine;
    pthread_t thread;
    int epoll_fd, stop_fd;
    pthread_mutex_t mutex; /* guards watches */
    struct watch *watches;
};

/* Takes the watch out of the list; true when it was there: who gets true owns the end. */
static struct watch *take(struct reaper *reaper, const char *id, int fd)
{
    struct watch **link, *found;

    pthread_mutex_lock(&reaper->mutex);
    for (link = &reaper->watches; *link != NULL; link = &(*link)->next)
        if (fd >= 0 ? (*link)->fd == fd : strcmp((*link)->id, id) == 0)
            break;
    found = *link;
    if (found != NULL) {
        *link = found->next;
        epoll_ctl(reaper->epoll_fd, EPOLL_CTL_DEL, found->fd, NULL);
        close(found->fd);
    }
    pthread_mutex_unlock(&reaper->mutex);
    return found;
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

    for (;;) {
        int n = epoll_wait(reaper->epoll_fd, events, ARRAY_LEN(events), -1);
        for (int i = 0; i < n; i++) {
            struct watch *watch;
            if (events[i].data.fd == reaper->stop_fd)
                return NULL;
            watch = take(reaper, NULL, events[i].data.fd);
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
    stop.data.fd = reaper->stop_fd;
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

void reaper_free(struct reaper *reaper)
{
    uint64_t one = 1;

    if (reaper == NULL)
        return;
    (void)!write(reaper->stop_fd, &one, sizeof one);
    pthread_join(reaper->thread, NULL);
    while (reaper->watches != NULL) {
        struct watch *next = reaper->watches->next;
        close(reaper->watches->fd);
        free(reaper->watches);
        reaper->watches = next;
    }
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
    struct epoll_event event = {.events = EPOLLIN};
    struct runner_error err = ERROR_INIT;
    struct runner_call call;

    reaper_forget(reaper, sandbox);
    (void)snprintf(watch->id, sizeof watch->id, "%s", id);
    call_init(&call, sandbox->host, id, 10000);
    if (host_watch(sandbox->host, &call, pid_path, &watch->fd, &err) < 0) {
        if (err.code == RUNNER_E_NOTFOUND)
            exited(reaper, id);
        else
            log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", id, "error", err.message, NULL);
        free(watch);
    } else {
        event.data.fd = watch->fd;
        pthread_mutex_lock(&reaper->mutex);
        watch->next = reaper->watches;
        reaper->watches = watch;
        if (epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0)
            log_event(RUNNER_LOG_ERROR, "reaper.watch_failed", "id", id, "error", strerrordesc_np(errno), NULL);
        pthread_mutex_unlock(&reaper->mutex);
    }
    call_done(&call);
}

void reaper_forget(struct reaper *reaper, struct sandbox *sandbox)
{
    free(take(reaper, sandbox->record->id, -1));
}
