/* How many fetches there are at once: more would only all be late. Who came first is first. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/images/inner.h"
#include "core/util/error.h"

/* has_turn is given by turn_give(), which tells it by the descriptor. */
int turn_take(struct flight *flight, struct runner_error *err)
{
    struct images *images = flight->images;
    auto_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool is_first;
    int events, saved;

    if (fd < 0)
        return fail_errno(err, errno, "wait for a turn");
    pthread_mutex_lock(&images->mutex);
    is_first = flight->has_turn = images->n_turns < images->engine->config->limits.pulls;
    flight->turn_fd = fd;
    if (is_first)
        images->n_turns++;
    else
        TAILQ_INSERT_TAIL(&images->queue, flight, queue_link);
    pthread_mutex_unlock(&images->mutex);
    if (is_first)
        return 0;
    events = call_wait(&flight->call, fd, POLLIN, -1);
    saved = errno;
    pthread_mutex_lock(&images->mutex);
    if (!flight->has_turn)
        TAILQ_REMOVE(&images->queue, flight, queue_link);
    pthread_mutex_unlock(&images->mutex);
    if (events >= 0)
        return 0;
    if (flight->has_turn)
        turn_give(images);
    return fail_errno(err, saved, "wait for a turn");
}

void turn_give(struct images *images)
{
    struct flight *next;
    uint64_t one = 1;

    pthread_mutex_lock(&images->mutex);
    next = TAILQ_FIRST(&images->queue);
    if (next != NULL) {
        TAILQ_REMOVE(&images->queue, next, queue_link);
        next->has_turn = true;
        (void)!write(next->turn_fd, &one, sizeof one);
    } else {
        images->n_turns--;
    }
    pthread_mutex_unlock(&images->mutex);
}
