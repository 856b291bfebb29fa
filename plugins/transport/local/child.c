#include "plugins/transport/local/child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "core/util/fd.h"

#define ENDED_MAX 1024 /* how many wait statuses are remembered */

struct child {
    struct child *next;          /* in its bucket */
    struct child *older, *newer; /* of those that have ended */
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

static struct child **bucket_of(struct local *self, const char *pid_path)
{
    uint32_t hash = 2166136261u;

    for (; *pid_path != '\0'; pid_path++)
        hash = (hash ^ (unsigned char)*pid_path) * 16777619u;
    return &self->children[hash % CHILD_BUCKETS];
}

/* Called with the lock held, as those below: where it is linked, or the end of its bucket. */
static struct child **link_of(struct local *self, const char *pid_path)
{
    struct child **link = bucket_of(self, pid_path);

    while (*link != NULL && strcmp((*link)->pid_path, pid_path) != 0)
        link = &(*link)->next;
    return link;
}

static void ended_add(struct local *self, struct child *c)
{
    c->older = self->newest_ended;
    *(c->older != NULL ? &c->older->newer : &self->oldest_ended) = c;
    self->newest_ended = c;
    self->n_ended++;
}

static void ended_remove(struct local *self, struct child *c)
{
    *(c->older != NULL ? &c->older->newer : &self->oldest_ended) = c->newer;
    *(c->newer != NULL ? &c->newer->older : &self->newest_ended) = c->older;
    self->n_ended--;
}

static void child_remove(struct local *self, struct child **link)
{
    struct child *c = *link;

    *link = c->next;
    if (c->pidfd < 0)
        ended_remove(self, c);
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
    ended_add(self, c);
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
        while (self->n_ended > ENDED_MAX)
            child_remove(self, link_of(self, self->oldest_ended->pid_path));
        pthread_mutex_unlock(&self->lock);
    } while (n == (int)ARRAY_LEN(events));
}

void child_add(struct local *self, const char *pid_path, pid_t pid, int pidfd)
{
    struct child *c = mem_alloc(sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    struct child **link;

    *c = (struct child){.pid_path = mem_dup(pid_path), .pid = pid, .pidfd = fd_park(pidfd)};
    pthread_mutex_lock(&self->lock);
    link = link_of(self, pid_path);
    if (*link != NULL) {
        if ((*link)->pidfd >= 0)
            reap_one(self, *link);
        child_remove(self, link);
    }
    link = bucket_of(self, pid_path);
    c->next = *link;
    *link = c;
    (void)epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, c->pidfd, &event); /* fails only for want of memory: then ALIVE reaps */
    pthread_mutex_unlock(&self->lock);
}

enum child_state child_find(struct local *self, const char *pid_path, pid_t *ret_pid, int *ret_status, int *ret_pidfd)
{
    enum child_state state = CHILD_UNKNOWN;
    struct child *c;

    pthread_mutex_lock(&self->lock);
    c = *link_of(self, pid_path);
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

void child_forget(struct local *self, const char *pid_path)
{
    struct child **link;

    pthread_mutex_lock(&self->lock);
    link = link_of(self, pid_path);
    if (*link != NULL)
        child_remove(self, link);
    pthread_mutex_unlock(&self->lock);
}

void child_free_all(struct local *self)
{
    for (size_t i = 0; i < CHILD_BUCKETS; i++)
        while (self->children[i] != NULL)
            child_remove(self, &self->children[i]);
}
