/* Addresses: 10.0.0.2 to 10.0.0.101, wrong in one way each. See wrong.h. */
#include <pthread.h>
#include <unistd.h>

#include "t/plugin/wrong/wrong.h"

enum { ADDRESSES = 100, FIRST = 2 };

struct wrong {
    pthread_mutex_t lock; /* guards the owners */
    char owners[ADDRESSES][64];
};

static void destroy(void *self)
{
    free(self);
}

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct wrong *w = calloc(1, sizeof *w);

    (void)values, (void)n;
    if (w == NULL)
        return refuse(err, RUNNER_E_NOMEM, "out of memory");
    pthread_mutex_init(&w->lock, NULL);
    *ret_self = w;
    return 0;
}

static void lock(struct wrong *w)
{
    if (!is_wrong("no-lock"))
        pthread_mutex_lock(&w->lock);
}

static void unlock(struct wrong *w)
{
    if (!is_wrong("no-lock"))
        pthread_mutex_unlock(&w->lock);
}

/* Of that owner, "": the first free one; ADDRESSES: none. */
static int find(const struct wrong *w, const char *owner)
{
    int i = 0;

    while (i < ADDRESSES && strcmp(w->owners[i], owner) != 0)
        i++;
    return i;
}

static void take(struct wrong *w, int i, const char *owner)
{
    if (is_wrong("no-lock"))
        (void)usleep(200); /* the others' turn: the defect is a race, which has no event */
    (void)snprintf(w->owners[i], sizeof w->owners[i], "%s", owner);
}

static int lease(void *self, struct runner_call *call, const char *owner, struct runner_lease *ret,
                 struct runner_error *err)
{
    struct wrong *w = self;
    int i;

    (void)call;
    lock(w);
    i = find(w, owner);
    if (i == ADDRESSES)
        i = find(w, "");
    if (i < ADDRESSES)
        take(w, i, owner);
    unlock(w);
    if (i == ADDRESSES)
        return refuse(err, is_wrong("exhausts-oddly") ? RUNNER_E_IO : RUNNER_E_NOSPACE, "none of 100 addresses free");
    (void)snprintf(ret->address, sizeof ret->address, "10.0.0.%d", FIRST + i);
    (void)snprintf(ret->gateway, sizeof ret->gateway, "10.0.0.1");
    (void)snprintf(ret->dns, sizeof ret->dns, "10.0.0.1");
    ret->prefix_len = is_wrong("forgets-prefix") ? 0 : 24;
    return 0;
}

static int adopt(void *self, const char *owner, const char *address, struct runner_error *err)
{
    struct wrong *w = self;
    int number, status = 0;

    if (sscanf(address, "10.0.0.%3d", &number) != 1 || number < FIRST || number >= FIRST + ADDRESSES)
        return refuse(err, RUNNER_E_INVALID, "not an address of ours");
    lock(w);
    if (w->owners[number - FIRST][0] != '\0' && strcmp(w->owners[number - FIRST], owner) != 0)
        status = refuse(err, RUNNER_E_EXISTS, "another's address");
    else if (!is_wrong("forgets-adopted"))
        take(w, number - FIRST, owner);
    unlock(w);
    return status;
}

static int release(void *self, const char *owner, struct runner_error *err)
{
    struct wrong *w = self;
    int i;

    (void)err;
    lock(w);
    i = find(w, owner);
    if (i < ADDRESSES)
        w->owners[i][0] = '\0';
    unlock(w);
    return 0;
}

static void usage(void *self, uint64_t *ret_free, uint64_t *ret_total)
{
    struct wrong *w = self;

    lock(w);
    *ret_total = ADDRESSES;
    *ret_free = 0;
    for (int i = 0; i < ADDRESSES; i++)
        *ret_free += w->owners[i][0] == '\0';
    unlock(w);
}

static const struct runner_ipam_ops ops = {lease, adopt, release, usage};

static struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_IPAM, NULL, ops),
    .threads = RUNNER_PARALLEL,
    .version = "0.1",
    .summary = "a hundred addresses, in a wrong way",
    .load = load,
    .create = create,
    .destroy = destroy,
};

WRONG_PLUGIN(plugin, (void)0)
