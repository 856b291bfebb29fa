/*
 * WAIT: until a file is larger than so much, or the process that writes it has ended. Events alone, no polling.
 *
 * Closing an inotify instance takes the kernel some 15 ms (it waits for all CPUs to let go of the watches), removing a watch
 * none. So an instance that is done with is kept for the next WAIT.
 */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "plugins/transport/local/child.h"
#include "plugins/transport/local/path.h"

#define IN_GONE          (IN_DELETE_SELF | IN_MOVE_SELF)
#define DIRECTORY_EVENTS (IN_CREATE | IN_MOVED_TO | IN_GONE)

struct growth {
    struct local *self;
    const struct runner_step *step;
    int inotify, pidfd, epoll_fd; /* epoll_fd: readable when one of the others is */
    int directory, file;          /* watches, -1: none */
    bool has_ended, is_gone;      /* the process; the directory */
};
#define GROWTH_INIT                                                                                                    \
    {                                                                                                                  \
        .inotify = -1, .pidfd = -1, .epoll_fd = -1, .directory = -1, .file = -1                                        \
    }

/* ---- instances of inotify ---- */

static int inotify_take(struct local *self)
{
    int fd = -1;

    pthread_mutex_lock(&self->lock);
    if (self->n_idle_inotify > 0)
        fd = self->idle_inotify[--self->n_idle_inotify];
    pthread_mutex_unlock(&self->lock);
    return fd >= 0 ? fd : inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
}

/* Without watches and events. One that stays behind all the same is known by its watch: numbers are not used again soon. */
static void inotify_give(struct local *self, int fd)
{
    char buffer[4096];

    while (read(fd, buffer, sizeof buffer) > 0)
        ;
    pthread_mutex_lock(&self->lock);
    if (self->n_idle_inotify < ARRAY_LEN(self->idle_inotify)) {
        self->idle_inotify[self->n_idle_inotify++] = fd;
        fd = -1;
    }
    pthread_mutex_unlock(&self->lock);
    if (fd >= 0)
        close(fd);
}

void growth_free_all(struct local *self)
{
    while (self->n_idle_inotify > 0)
        close(self->idle_inotify[--self->n_idle_inotify]);
}

/* ---- one wait ---- */

static void unwatch(const struct growth *g, int watch)
{
    if (watch >= 0)
        (void)inotify_rm_watch(g->inotify, watch); /* it may have gone with its file */
}

static void growth_done(struct growth *g)
{
    if (g->inotify >= 0) {
        unwatch(g, g->directory);
        unwatch(g, g->file);
        inotify_give(g->self, g->inotify);
    }
    cleanup_close(&g->pidfd);
    cleanup_close(&g->epoll_fd);
}
#define auto_growth CLEANUP(growth_done)

static int add_fd(struct growth *g, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(g->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int find_process(const struct act *a, struct growth *g, struct runner_error *err)
{
    pid_t pid;
    int status, r;

    if (g->step->to == NULL)
        return 0;
    if (g->step->to[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "pid file '%s' is not absolute", g->step->to);
    r = proc_find(a->self, g->step->to, &pid, &g->pidfd, &status, err);
    g->has_ended = r == 1;
    return r < 0 ? -1 : 0;
}

/* The directory is not kept open: that would keep its end from being told. */
static int watch_directory(struct growth *g, struct runner_error *err)
{
    auto_path struct path at = PATH_INIT;
    char by_fd[32];

    if (path_open(NULL, g->step->path, &at, err) < 0)
        return -1;
    (void)snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", at.dir);
    g->directory = inotify_add_watch(g->inotify, by_fd, DIRECTORY_EVENTS);
    if (g->directory < 0)
        return fail_errno(err, errno, "watch its directory");
    return 0;
}

static int growth_begin(const struct act *a, struct growth *g, struct runner_error *err)
{
    if (g->step->number < 0)
        return fail(err, RUNNER_E_INVALID, 0, "%lld bytes", (long long)g->step->number);
    g->inotify = inotify_take(g->self);
    if (g->inotify < 0) /* EMFILE, mostly: fs.inotify.max_user_instances */
        return fail_errno(err, errno, "inotify");
    g->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch_directory(g, err) < 0 || find_process(a, g, err) < 0)
        return -1;
    if (g->epoll_fd < 0 || add_fd(g, g->inotify) < 0 || (g->pidfd >= 0 && add_fd(g, g->pidfd) < 0))
        return fail_errno(err, errno, "epoll");
    return 0;
}

static int watch_file(struct growth *g, struct runner_error *err)
{
    int watch = inotify_add_watch(g->inotify, g->step->path, IN_MODIFY | IN_DONT_FOLLOW);

    if (watch < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "watch it");
    if (watch != g->file)
        unwatch(g, g->file);
    g->file = watch;
    return 0;
}

/* The file as it is now. Its watch is set before its size is read, so that no growth is missed; again each time, as it
 * may be another file by now. */
static int look(struct growth *g, int64_t *ret_size, struct runner_error *err)
{
    const char *path = g->step->path;
    struct stat st;

    *ret_size = 0;
    if (watch_file(g, err) < 0)
        return -1;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "stat");
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "not a regular file");
    *ret_size = st.st_size;
    return 0;
}

static void take_events(struct growth *g)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    struct pollfd ended = {.fd = g->pidfd, .events = POLLIN};
    ssize_t n;

    while ((n = read(g->inotify, buffer, sizeof buffer)) > 0)
        for (char *p = buffer; p < buffer + n;) {
            struct inotify_event *event = (struct inotify_event *)(void *)p;

            g->is_gone = g->is_gone || (event->wd == g->directory && (event->mask & IN_GONE) != 0);
            p += sizeof *event + event->len;
        }
    g->has_ended = g->has_ended || poll(&ended, 1, 0) > 0;
}

static int growth_wait(const struct act *a, struct growth *g, struct runner_result *result, struct runner_error *err)
{
    for (;;) {
        bool has_ended = g->has_ended; /* before the look: what it wrote last counts */

        if (look(g, &result->number, err) < 0)
            return -1;
        if (result->number > g->step->number)
            return 0;
        if (has_ended) {
            result->status = 1;
            return 0;
        }
        if (g->is_gone)
            return fail(err, RUNNER_E_NOTFOUND, 0, "its directory is gone");
        if (act_wait(a, g->epoll_fd, POLLIN, -1) < 0) {
            if (errno == ETIMEDOUT)
                return fail(err, RUNNER_E_TIMEOUT, 0, "%lld bytes in that time", (long long)result->number);
            return fail_errno(err, errno, "%lld bytes so far", (long long)result->number);
        }
        take_events(g);
    }
}

int growth_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_growth struct growth g = GROWTH_INIT;

    g.self = a->self;
    g.step = step;
    if (growth_begin(a, &g, err) < 0 || growth_wait(a, &g, result, err) < 0)
        return error_wrap(err, "wait for '%s'", step->path);
    if (g.pidfd >= 0)
        child_reap(a->self);
    return 0;
}
