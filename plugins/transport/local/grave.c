#include "plugins/transport/local/grave.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "plugins/transport/local/local.h"
#include "plugins/transport/local/netlink.h"

#define GROUP     0x72646561u /* interfaces that nobody has any more, of all runners */
#define GATHER_NS 50000000    /* how long one waits for others: while they go no other interface can change */
#define AGAIN_NS  1000000000  /* after a failure */
#define SECOND_NS 1000000000

struct grave {
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, is_running, is_over; /* is_running: of the thread, until it has nothing more to do */
    size_t n;                             /* to be removed */
};

struct grave *grave_new(void)
{
    struct grave *g = mem_alloc(sizeof *g);
    pthread_condattr_t attr;

    pthread_mutex_init(&g->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&g->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return g;
}

/* Called with the lock held. */
static void gather(struct grave *g, long ns)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    until.tv_sec += until.tv_nsec / SECOND_NS;
    until.tv_nsec %= SECOND_NS;
    while (!g->is_over && pthread_cond_timedwait(&g->changed, &g->lock, &until) != ETIMEDOUT)
        ;
}

/* None: another runner was faster. */
static int delete_group(void)
{
    struct netlink n;
    int r = netlink_open(&n);

    if (r < 0)
        return r;
    netlink_delete_group(&n, GROUP);
    r = netlink_send(&n, NULL);
    netlink_close(&n);
    return r == -ENODEV ? 0 : r;
}

static bool remove_all(void)
{
    int r = delete_group();
    auto_free char *text = mem_printf("%d", -r);
    const struct runner_field field = {"errno", text};

    if (r == 0)
        return true;
    local_host->log(NULL, RUNNER_LOG_WARN, "transport.interfaces_left", &field, 1);
    return false;
}

static void *grave_main(void *arg)
{
    struct grave *g = arg;
    bool is_done = true;

    pthread_mutex_lock(&g->lock);
    while (g->n > 0) {
        gather(g, is_done ? GATHER_NS : AGAIN_NS);
        g->n = 0;
        pthread_mutex_unlock(&g->lock);
        is_done = remove_all();
        pthread_mutex_lock(&g->lock);
        g->n += !is_done && !g->is_over; /* else a later runner finds them by their name */
    }
    g->is_running = false;
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

void grave_free(struct grave *g)
{
    if (g == NULL)
        return;
    pthread_mutex_lock(&g->lock);
    g->is_over = true;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    if (g->has_thread)
        (void)pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* Called with the lock held; one that is not running does not take it any more. */
static bool start(struct grave *g)
{
    if (g->is_running)
        return true;
    if (g->has_thread)
        (void)pthread_join(g->thread, NULL);
    g->has_thread = pthread_create(&g->thread, NULL, grave_main, g) == 0;
    g->is_running = g->has_thread;
    return g->has_thread;
}

/* Whether somebody will remove what is in it. */
static bool tell(struct grave *g)
{
    bool is_known;

    pthread_mutex_lock(&g->lock);
    g->n++;
    is_known = start(g);
    if (!is_known)
        g->n--;
    pthread_mutex_unlock(&g->lock);
    return is_known;
}

int grave_bury(struct grave *g, struct netlink *n, int index)
{
    const struct link_change rest = {.index = index, .up = 0, .master = -1, .group = -1};
    const struct link_change leave = {.index = index, .up = -1, .master = 0, .rename = GRAVE_NAME, .group = GROUP};

    netlink_change(n, &rest); /* first: one that is up can be renamed only since Linux 6.3 */
    netlink_change(n, &leave);
    if (netlink_send(n, NULL) == 0 && tell(g))
        return 0;
    netlink_delete(n, index);
    return netlink_send(n, NULL);
}
