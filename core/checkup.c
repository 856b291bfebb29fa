#include "core/checkup.h"

#include "core/mend.h"
#include "core/reconcile.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define CHECK_MS 60000 /* of all plugins of a host; some try a guest, which takes seconds */
#define AGAIN_MS 5000  /* a plugin found something wrong that it did not before: is it so? */

struct checkup {
    struct task task;
    struct engine *engine;
    struct host *host;
    struct runner_call call;
    int64_t every_ms;
};

/* When a host is tried again that did not come up, host_set_up() has said. */
static void end(struct checkup *checkup, bool is_doubtful)
{
    struct host *host = checkup->host;
    const int64_t in_ms = is_doubtful && checkup->every_ms > AGAIN_MS ? AGAIN_MS : checkup->every_ms;

    pthread_mutex_lock(&host->mutex);
    host->checking = NULL;
    if (host->is_up)
        host->check_at_ms = num_now_ms() + in_ms;
    pthread_mutex_unlock(&host->mutex);
    call_done(&checkup->call);
    free(checkup);
}

/* Whether it is to be looked at again soon. */
static bool check(struct checkup *checkup)
{
    struct runner_error err = ERROR_INIT;
    bool is_doubtful = host_check_again(checkup->host, &checkup->call);

    if (!host_is_network_ill(checkup->host))
        checkup->host->is_network_lost = false;
    else if (call_cancelled(&checkup->call) == 0)
        is_doubtful = mend_network(checkup->engine, checkup->host, &checkup->call, &err) == 0 || is_doubtful;
    return is_doubtful;
}

static void run(struct task *task)
{
    struct checkup *checkup = (struct checkup *)task;
    bool is_doubtful = false;

    if (host_is_down(checkup->host))
        reconcile_again(checkup->engine, checkup->host, &checkup->call);
    else
        is_doubtful = check(checkup);
    end(checkup, is_doubtful);
}

/* Under the host's mutex. */
static struct checkup *begin(struct engine *engine, struct host *host, int64_t every_ms)
{
    struct checkup *checkup = mem_alloc(sizeof *checkup);

    checkup->task.run = run;
    checkup->engine = engine;
    checkup->host = host;
    checkup->every_ms = every_ms;
    call_init(&checkup->call, host, NULL, CHECK_MS);
    host->checking = &checkup->call;
    host->check_begun_ms = num_now_ms();
    return checkup;
}

/* The first time is that of the host's coming up, which is no matter of ours. */
static int64_t step(struct engine *engine, struct host *host)
{
    const int64_t every_ms = engine->config->check_ms;
    struct checkup *checkup = NULL;
    int64_t left_ms = every_ms;

    pthread_mutex_lock(&host->mutex);
    if (host->check_at_ms == 0)
        host->check_at_ms = num_now_ms() + every_ms;
    if (host->checking == NULL && host->is_tried)
        left_ms = host->check_at_ms - num_now_ms();
    if (left_ms <= 0)
        checkup = begin(engine, host, every_ms);
    pthread_mutex_unlock(&host->mutex);
    if (checkup == NULL)
        return left_ms;
    if (pool_submit(engine->pool, NULL, &checkup->task, POOL_ASKED, NULL) < 0)
        end(checkup, false); /* the runner stops, or has too much to do */
    return every_ms;
}

int64_t checkup_step(struct engine *engine)
{
    int64_t next_ms = engine->config->check_ms;

    for (size_t i = 0; i < engine->n_hosts; i++) {
        int64_t left_ms = step(engine, engine->hosts[i]);
        if (left_ms < next_ms)
            next_ms = left_ms;
    }
    return next_ms;
}

void checkup_cancel(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct host *host = engine->hosts[i];

        pthread_mutex_lock(&host->mutex);
        if (host->checking != NULL)
            call_cancel(host->checking);
        pthread_mutex_unlock(&host->mutex);
    }
}
