#include "plugins/transport/local/child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define ENDED_MAX 1024 /* how many wait statuses are remembered */

struct child {
    struct child *next; /* the newest first */
    char *pid_path;
    pid_t pid;
    int pidfd;  /* -1: it has ended */
    int status; /* as waitpid(2) gives it, once ended */
};

/* Out of the epoll set by hand: a copy of the descriptor may still be open, and would keep it in. */
static void child_close(struct local *self, struct child *c)
{
    if (c->pidfd < 0)
        return;
    (void)epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, c->pidfd, NULL);
    close(c->pidfd);
    c->pidfd = -1;
}

static void child_free(struct local *self, struct child *c)
{
    child_close(self, c);
    free(c->pid_path);
    free(c);
}

static int status_of(const siginfo_t *info)
{
    if (info->si_code == CLD_EXITED)
        return (info->si_status & 0xff) << 8;
    return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* Called with the lock held. */
static void reap_one(struct local *self, struct child *c)
{
    siginfo_t info = {0};

    if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) < 0) {
        if (errno != ECHILD) /* ECHILD: somebody else in this process took it */
            return;
        c->status = -1;
    } else if (info.si_pid == 0) {
        return;
    } else {
        c->status = status_of(&info);
    }
    child_close(self, c);
    self->n_ended++;
}

/* Called with the lock held. Drops the oldest of the ended ones beyond the bound. */
static void forget_old(struct local *self)
{
    while (self->n_ended > ENDED_MAX) {
        struct child **oldest = NULL, *c;

        for (struct child **p = &self->children; *p != NULL; p = &(*p)->next)
            if ((*p)->pidfd < 0)
                oldest = p;
        if (oldest == NULL)
            return;
        c = *oldest;
        *oldest = c->next;
        self->n_ended--;
        child_free(self, c);
    }
}

void child_reap(struct local *self)
{
    struct epoll_event events[16];
    int n;

    do {
        pthread_mutex_lock(&self->lock);
        n = epoll_wait(self->epoll_fd, events, ARRAY_LEN(events), 0);
        for (int i = 0; i < n; i++)
            reap_one(self, events[i].data.ptr);
        forget_old(self);
        pthread_mutex_unlock(&self->lock);
    } while (n == (int)ARRAY_LEN(events));
}

/* Called with the lock held. */
static void forget_path(struct local *self, const char *pid_path)
{
    for (struct child **p = &self->children; *p != NULL; p = &(*p)->next) {
        struct child *old = *p;
        if (strcmp(old->pid_path, pid_path) != 0)
            continue;
        if (old->pidfd >= 0)
            reap_one(self, old);
        if (old->pidfd < 0)
            self->n_ended--;
        *p = old->next;
        child_free(self, old);
        return;
    }
}

void child_add(struct local *self, const char *pid_path, pid_t pid, int pidfd)
{
    struct child *c = mem_alloc(sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    *c = (struct child){.pid_path = mem_dup(pid_path), .pid = pid, .pidfd = pidfd};
    pthread_mutex_lock(&self->lock);
    forget_path(self, pid_path);
    c->next = self->children;
    self->children = c;
    (void)epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, pidfd, &event); /* fails only for want of memory: then ALIVE reaps */
    pthread_mutex_unlock(&self->lock);
}

enum child_state child_find(struct local *self, const char *pid_path, pid_t *ret_pid, int *ret_status, int *ret_pidfd)
{
    enum child_state state = CHILD_UNKNOWN;
    struct child *c;

    pthread_mutex_lock(&self->lock);
    for (c = self->children; c != NULL && strcmp(c->pid_path, pid_path) != 0; c = c->next)
        ;
    if (c != NULL && c->pidfd >= 0)
        reap_one(self, c);
    if (c != NULL) {
        state = c->pidfd >= 0 ? CHILD_RUNS : CHILD_ENDED;
        *ret_pid = c->pid;
        *ret_status = c->status;
        if (state == CHILD_RUNS && ret_pidfd != NULL)
            *ret_pidfd = fcntl(c->pidfd, F_DUPFD_CLOEXEC, 3);
    }
    pthread_mutex_unlock(&self->lock);
    return state;
}

void child_free_all(struct local *self)
{
    while (self->children != NULL) {
        struct child *c = self->children;
        self->children = c->next;
        child_free(self, c);
    }
}
