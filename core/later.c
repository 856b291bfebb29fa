#include "core/later.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/str.h"

struct entry {
    struct entry *next;
    int64_t at_ms;
    char *name;
};

struct later {
    pthread_mutex_t mutex; /* guards the list */
    struct entry *first;   /* by time */
    int fd;
};

struct later *later_new(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct later *later;

    if (fd < 0)
        return NULL;
    later = mem_alloc(sizeof *later);
    pthread_mutex_init(&later->mutex, NULL);
    later->fd = fd;
    return later;
}

void later_free(struct later *later)
{
    if (later == NULL)
        return;
    while (later->first != NULL) {
        struct entry *entry = later->first;

        later->first = entry->next;
        free(entry->name);
        free(entry);
    }
    close(later->fd);
    pthread_mutex_destroy(&later->mutex);
    free(later);
}

int later_fd(const struct later *later)
{
    return later->fd;
}

/* Called with the mutex held. Disarms it where nothing waits. */
static void set_timer(const struct later *later)
{
    struct itimerspec at = {.it_value = {.tv_sec = 0}};

    if (later->first != NULL) {
        at.it_value.tv_sec = (time_t)(later->first->at_ms / 1000);
        at.it_value.tv_nsec = (long)(later->first->at_ms % 1000) * 1000000L + 1; /* never 0, which disarms */
    }
    (void)timerfd_settime(later->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void later_add(struct later *later, const char *name, int64_t in_ms)
{
    struct entry *entry = mem_alloc(sizeof *entry);
    struct entry **link = &later->first;

    entry->name = mem_dup(name);
    entry->at_ms = num_now_ms() + in_ms;
    pthread_mutex_lock(&later->mutex);
    while (*link != NULL && (*link)->at_ms <= entry->at_ms)
        link = &(*link)->next;
    entry->next = *link;
    *link = entry;
    set_timer(later);
    pthread_mutex_unlock(&later->mutex);
}

char *later_take(struct later *later)
{
    struct entry *entry;
    char *name = NULL;

    pthread_mutex_lock(&later->mutex);
    entry = later->first;
    if (entry != NULL && entry->at_ms <= num_now_ms()) {
        later->first = entry->next;
        name = entry->name;
        free(entry);
    } else {
        set_timer(later);
    }
    pthread_mutex_unlock(&later->mutex);
    return name;
}
