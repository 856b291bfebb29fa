#include "core/host.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/batch.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/num.h"

/* Lets one caller through at a time. The mutex is held for lines only, never across the plugin's call. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t free;
    bool is_taken;
    const struct plugin *plugin; /* SERIAL: the gate is shared by the plugin's instances */
    struct gate *next;
    int users;
};

static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct gate *shared_gates; /* of SERIAL plugins */

static struct gate *gate_new(const struct plugin *plugin)
{
    struct gate *gate = mem_alloc(sizeof *gate);

    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->free, NULL);
    gate->plugin = plugin;
    gate->users = 1;
    return gate;
}

static struct gate *gate_for(const struct plugin *plugin)
{
    struct gate *gate;

    if (plugin->desc.threads == RUNNER_PARALLEL)
        return NULL;
    if (plugin->desc.threads == RUNNER_PER_INSTANCE)
        return gate_new(plugin);
    pthread_mutex_lock(&shared_mutex);
    for (gate = shared_gates; gate != NULL && gate->plugin != plugin; gate = gate->next)
        ;
    if (gate == NULL) {
        gate = gate_new(plugin);
        gate->next = shared_gates;
        shared_gates = gate;
    } else {
        gate->users++;
    }
    pthread_mutex_unlock(&shared_mutex);
    return gate;
}

static void gate_free(struct gate *gate)
{
    struct gate **link;

    if (gate == NULL)
        return;
    pthread_mutex_lock(&shared_mutex);
    if (--gate->users > 0) {
        pthread_mutex_unlock(&shared_mutex);
        return;
    }
    for (link = &shared_gates; *link != NULL && *link != gate; link = &(*link)->next)
        ;
    if (*link != NULL)
        *link = gate->next;
    pthread_mutex_unlock(&shared_mutex);
    pthread_cond_destroy(&gate->free);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

void host_enter(struct host *host, uint32_t kind)
{
    struct gate *gate = host->gates[kind];

    if (gate == NULL)
        return;
    pthread_mutex_lock(&gate->mutex);
    while (gate->is_taken)
        pthread_cond_wait(&gate->free, &gate->mutex);
    gate->is_taken = true;
    pthread_mutex_unlock(&gate->mutex);
}

void host_leave(struct host *host, uint32_t kind)
{
    struct gate *gate = host->gates[kind];

    if (gate == NULL)
        return;
    pthread_mutex_lock(&gate->mutex);
    gate->is_taken = false;
    pthread_cond_signal(&gate->free);
    pthread_mutex_unlock(&gate->mutex);
}

int host_new(const struct config_host *config, struct host **ret, struct runner_error *err)
{
    auto_host struct host *host = mem_alloc(sizeof *host);
    pthread_condattr_t monotonic;

    host->config = config;
    pthread_mutex_init(&host->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&host->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        const struct config_section *section = &config->sections[kind];

        if (section->plugin == NULL)
            continue;
        if (section->plugin->desc.create(section->values, section->n_values, &host->self[kind], err) < 0)
            return error_wrap(err, "%s", section->where);
        host->gates[kind] = gate_for(section->plugin);
    }
    *ret = host;
    host = NULL;
    return 0;
}

void host_free(struct host *host)
{
    if (host == NULL)
        return;
    for (uint32_t kind = LOADER_KINDS; kind >= 1; kind--) {
        if (host->self[kind] != NULL)
            host_plugin(host, kind)->desc.destroy(host->self[kind]);
        gate_free(host->gates[kind]);
        free(host->service_problem[kind]);
    }
    free(host->problem);
    free(host->vmm_text);
    pthread_cond_destroy(&host->changed);
    pthread_mutex_destroy(&host->mutex);
    free(host);
}

const struct plugin *host_plugin(const struct host *host, uint32_t kind)
{
    return host->config->sections[kind].plugin;
}

static int check_one(struct host *host, uint32_t kind, struct runner_call *call, struct runner_error *err)
{
    const struct plugin *plugin = host_plugin(host, kind);
    int status;

    if (plugin == NULL || plugin->desc.check == NULL)
        return 0;
    host_enter(host, kind);
    status = plugin->desc.check(host->self[kind], call, err);
    host_leave(host, kind);
    return status;
}

static void learn_vmm(struct host *host)
{
    char text[240] = "";

    if (host_plugin(host, RUNNER_VMM)->ops.vmm.describe == NULL ||
        HOST_CALL(host, RUNNER_VMM, vmm, describe, text, sizeof text) < 0)
        return;
    pthread_mutex_lock(&host->mutex);
    free(host->vmm_text);
    host->vmm_text = mem_dup(text);
    pthread_mutex_unlock(&host->mutex);
}

int host_check(struct host *host, struct runner_call *call, struct str *ret_problems)
{
    int n = 0;

    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        struct runner_error err = ERROR_INIT;
        bool is_bad = check_one(host, kind, call, &err) < 0;

        pthread_mutex_lock(&host->mutex);
        free(host->service_problem[kind]);
        host->service_problem[kind] = is_bad ? mem_dup(err.message) : NULL;
        pthread_mutex_unlock(&host->mutex);
        if (!is_bad)
            continue;
        n++;
        if (ret_problems != NULL)
            str_addf(ret_problems, "%s: %s\n", host->config->sections[kind].where, err.message);
    }
    learn_vmm(host);
    return n;
}

void host_set_up(struct host *host, const char *problem)
{
    pthread_mutex_lock(&host->mutex);
    host->is_up = problem == NULL;
    host->up_us = num_now_us();
    free(host->problem);
    host->problem = mem_dup(problem);
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->mutex);
}

/* Not woken by a cancel: bounded by the deadline, and bringing a host up is short. */
int host_wait_up(struct host *host, struct runner_call *call, struct runner_error *err)
{
    struct timespec until = {.tv_sec = call->deadline_us / 1000000, .tv_nsec = call->deadline_us % 1000000 * 1000};
    int status = 0;

    pthread_mutex_lock(&host->mutex);
    while (!host->is_up && host->problem == NULL && status == 0)
        status = pthread_cond_timedwait(&host->changed, &host->mutex, &until);
    if (host->is_up)
        status = 0;
    else if (host->problem != NULL)
        status = fail(err, RUNNER_E_UNREACHABLE, 0, "host '%s': %s", host->config->name, host->problem);
    else
        status = fail(err, RUNNER_E_TIMEOUT, 0, "host '%s' is still starting", host->config->name);
    pthread_mutex_unlock(&host->mutex);
    return status;
}

char *host_sandbox_dir(const struct host *host, const char *id)
{
    return mem_printf("%s/sandboxes/%s", host->config->root, id);
}

char *host_sandbox_path(const struct host *host, const char *id, const char *file)
{
    return mem_printf("%s/sandboxes/%s/%s", host->config->root, id, file);
}

char *host_socket_path(const struct host *host, const char *id)
{
    return mem_printf("%s/%s.sock", host->config->run_dir, id);
}

int host_run(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_TRANSPORT, transport, run, call, steps, n, results, err);
}

int host_dial(struct host *host, struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_TRANSPORT, transport, dial, call, address, ret_fd, err);
}

int host_watch(struct host *host, struct runner_call *call, const char *pid_path, int *ret_fd, struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_TRANSPORT, transport, watch, call, pid_path, ret_fd, err);
}

/* ---- the table ---- */

static void *service_alloc(size_t size)
{
    return calloc(1, size > 0 ? size : 1);
}

static void service_log(struct runner_call *call, uint32_t level, const char *event, const struct runner_field *fields,
                        size_t n)
{
    struct runner_field all[16];
    size_t m = 0;

    if (call != NULL && call->host != NULL)
        all[m++] = (struct runner_field){"host", call->host->config->name};
    if (call != NULL && call->id != NULL)
        all[m++] = (struct runner_field){"id", call->id};
    for (size_t i = 0; i < n && m < ARRAY_LEN(all); i++)
        all[m++] = fields[i];
    log_fields(level, event, all, m);
}

static const char *service_root(struct runner_call *call)
{
    return call->host->config->root;
}

static int service_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    return host_dial(call->host, call, address, ret_fd, err);
}

const struct runner_host *host_services(void)
{
    static const struct runner_host services = {.size = sizeof services,
                                                .api_minor = RUNNER_API_MINOR,
                                                .alloc = service_alloc,
                                                .release = free,
                                                .log = service_log,
                                                .cancelled = call_cancelled,
                                                .wait = call_wait,
                                                .left_ms = call_left_ms,
                                                .root = service_root,
                                                .batch_new = batch_new,
                                                .batch_free = batch_free,
                                                .add = batch_add,
                                                .result = batch_result,
                                                .run = batch_run,
                                                .dial = service_dial};

    return &services;
}
