/* transport/local: carries steps out on the machine the runner runs on. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "plugins/transport/local/cgroup.h"
#include "plugins/transport/local/child.h"
#include "plugins/transport/local/grave.h"
#include "plugins/transport/local/launch.h"

#define UNDO_MS 30000

const struct runner_host *local_host;

int act_wait(const struct act *a, int fd, short events, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    if (!a->is_undo)
        return local_host->wait(a->call, fd, events, ms);
    do
        n = poll(&p, 1, ms < 0 || ms > UNDO_MS ? UNDO_MS : (int)ms);
    while (n < 0 && errno == EINTR);
    if (n == 0 && ms < 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return n > 0 ? p.revents : n;
}

int act_check(const struct act *a, struct runner_error *err)
{
    int code = a->is_undo ? 0 : local_host->cancelled(a->call);

    if (code == 0)
        return 0;
    return fail(err, code, 0,
                code == RUNNER_E_TIMEOUT ? "the operation's time is over" : "the operation was cancelled");
}

int act_output(struct runner_result *result, const void *data, size_t len, struct runner_error *err)
{
    char *copy = local_host->alloc(len + 1);

    if (copy == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "%zu bytes of output", len);
    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    result->out = copy;
    result->len = len;
    return 0;
}

static int local_load(const struct runner_host *host, struct runner_error *err)
{
    (void)err;
    local_host = host;
    launch_load();
    return 0;
}

static void local_destroy(void *self)
{
    struct local *l = self;

    if (l == NULL)
        return;
    child_free_all(l);
    growth_free_all(l);
    tap_free_all(l);
    grave_free(l->grave);
    if (l->netfilter_fd >= 0)
        close(l->netfilter_fd);
    pthread_mutex_destroy(&l->netfilter_lock);
    cgroups_free(l->cgroups);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static const char *text_of(const struct runner_value *values, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(values[i].name, name) == 0)
            return values[i].text;
    return "";
}

static int local_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct local *l = mem_alloc(sizeof *l);

    l->is_root = geteuid() == 0;
    pthread_mutex_init(&l->lock, NULL);
    l->netfilter_fd = -1;
    pthread_mutex_init(&l->netfilter_lock, NULL);
    l->grave = grave_new();
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0 || cgroups_new(text_of(values, n, "cgroup"), &l->cgroups, err) < 0) {
        if (l->epoll_fd < 0)
            fail_errno(err, errno, "epoll");
        local_destroy(l);
        return -1;
    }
    *ret_self = l;
    return 0;
}

static int local_run(void *self, struct runner_call *call, const struct runner_step *const *steps, size_t n,
                     struct runner_result *results, struct runner_error *err)
{
    struct act a = {.self = self, .call = call};

    child_reap(a.self);
    return run_steps(&a, steps, n, results, err);
}

static int local_begin(void *self, struct runner_call *call, const struct runner_step *const *steps, size_t n,
                       struct runner_result *results, void **ret_begun, struct runner_error *err)
{
    struct act a = {.self = self, .call = call};
    struct run *run;

    child_reap(a.self);
    if (run_begin(&a, steps, n, results, &run, err) < 0)
        return -1;
    *ret_begun = run;
    return 0;
}

static int local_end(void *self, struct runner_call *call, void *begun, const struct runner_step *const *steps, size_t n,
                     struct runner_result *results, struct runner_error *err)
{
    struct act a = {.self = self, .call = call};

    return run_end(&a, begun, steps, n, results, err);
}

static int local_dial(void *self, struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    struct act a = {.self = self, .call = call};

    return dial_address(&a, address, ret_fd, err);
}

static int local_watch(void *self, struct runner_call *call, const char *pid_path, int *ret_fd,
                       struct runner_error *err)
{
    struct act a = {.self = self, .call = call};

    child_reap(a.self);
    return proc_watch(&a, pid_path, ret_fd, err);
}

static const struct runner_transport_ops local_ops = {
    .run = local_run, .dial = local_dial, .watch = local_watch, .begin = local_begin, .end = local_end};

static const struct runner_param local_params[] = {
    {.name = "cgroup",
     .dflt = "runner-ch",
     .doc = "cgroup (version 2) below which each VM gets its own, a path from the root of the hierarchy; empty: none",
     .type = RUNNER_T_STRING},
};

static const struct runner_plugin local_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_TRANSPORT, "local", local_ops),
    .threads = RUNNER_PARALLEL,
    .version = "1.0",
    .summary = "the machine the runner runs on, by system calls",
    .params = local_params,
    .n_params = ARRAY_LEN(local_params),
    .load = local_load,
    .create = local_create,
    .destroy = local_destroy,
    .diagnose = diagnose_run,
};

RUNNER_PLUGIN(local_plugin)
