#include "core/host.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/batch.h"
#include "core/fit.h"
#include "core/log.h"
#include "core/plugin-check.h"
#include "core/util/error.h"
#include "core/util/num.h"

#define DOWN_MS     5000 /* until one that did not come up is tried again, then twice that ... */
#define DOWN_MAX_MS 160000

int host_new(const struct config_host *config, struct host **ret, struct runner_error *err)
{
    auto_host struct host *host = mem_alloc(sizeof *host);
    pthread_condattr_t monotonic;

    host->config = config;
    host->capacity = (struct capacity){.host = config->name, .settings = &config->capacity};
    pthread_mutex_init(&host->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&host->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (config->n_uids > 0)
        host->uids = uids_new(config->first_uid, config->n_uids);
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        if (instances_new(&config->sections[kind], &host->instances[kind], err) < 0)
            return -1;
    *ret = host;
    host = NULL;
    return 0;
}

void host_free(struct host *host)
{
    if (host == NULL)
        return;
    for (uint32_t kind = LOADER_KINDS; kind >= 1; kind--)
        instances_free(host->instances[kind]);
    uids_free(host->uids);
    free(host->problem);
    free(host->uid_problem);
    free(host->look_problem);
    pthread_cond_destroy(&host->changed);
    pthread_mutex_destroy(&host->mutex);
    free(host);
}

const struct plugin *host_plugin(const struct host *host, uint32_t kind)
{
    return host->instances[kind] != NULL ? host->instances[kind]->plugin : NULL;
}

/* ---- what works ---- */

static void learn(struct host *host, struct instance *instance, const char *problem)
{
    char text[240] = "";

    if (instance->plugin->desc.kind == RUNNER_VMM)
        (void)INSTANCE_CALL(instance, vmm, describe, text, sizeof text);
    pthread_mutex_lock(&host->mutex);
    free(instance->problem);
    instance->problem = mem_dup(problem);
    free(instance->text);
    instance->text = text[0] != '\0' ? mem_dup(text) : NULL;
    instance->is_checked = true;
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->mutex);
}

static void log_news(const struct host *host, const struct instance *instance, const char *problem)
{
    log_event(problem != NULL ? RUNNER_LOG_ERROR : RUNNER_LOG_INFO, problem != NULL ? "plugin.sick" : "plugin.well",
              "host", host->config->name, "kind", loader_kind_name(instance->plugin->desc.kind), "plugin",
              instance->plugin->desc.name, "error", problem, NULL);
}

/* check(), and of ipam whether the network takes what it leases: with the network alone nothing is wrong, and nothing in it
 * can be made again. */
static int check_one(struct host *host, struct instance *instance, struct runner_call *call, struct runner_error *err)
{
    if (instance_check(instance, call, err) < 0)
        return -1;
    return instance->plugin->desc.kind == RUNNER_IPAM ? fit_network(host, call, err) : 0;
}

/* One of the candidates is enough: the problems of the others are told only when there is none. */
static int check_kind(struct host *host, uint32_t kind, struct runner_call *call, struct str *ret_problems)
{
    auto_str struct str problems = STR_INIT;
    bool has_good = false;
    int n = 0;

    for (struct instance *instance = host->instances[kind]; instance != NULL; instance = instance->next) {
        struct runner_error err = ERROR_INIT;
        bool is_good = check_one(host, instance, call, &err) == 0;

        learn(host, instance, is_good ? NULL : err.message);
        if (is_good) {
            has_good = true;
            continue;
        }
        n++;
        str_addf(&problems, "%s: %s\n", instance->section->where, err.message);
    }
    if (has_good)
        return 0;
    if (ret_problems != NULL)
        str_add(ret_problems, str_text(&problems));
    else if (call_cancelled(call) != RUNNER_E_CANCELLED) /* the runner stops */
        for (struct instance *instance = host->instances[kind]; instance != NULL; instance = instance->next)
            log_news(host, instance, instance->problem);
    return n;
}

int host_check(struct host *host, struct runner_call *call, struct str *ret_problems)
{
    int n = 0;

    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        n += check_kind(host, kind, call, ret_problems);
    pthread_mutex_lock(&host->mutex);
    host->is_tried = true;
    pthread_mutex_unlock(&host->mutex);
    return n;
}

/* True: it is to be tried again before it is believed. */
static bool check_again(struct host *host, struct instance *instance, struct runner_call *call)
{
    struct runner_error err = ERROR_INIT;
    const bool is_good = check_one(host, instance, call, &err) == 0;
    bool was_good, is_doubtful;

    if (!is_good && call_cancelled(call) == RUNNER_E_CANCELLED) /* the runner stops */
        return false;
    pthread_mutex_lock(&host->mutex);
    was_good = instance->problem == NULL;
    is_doubtful = !is_good && was_good && !instance->is_doubtful;
    instance->is_doubtful = is_doubtful;
    pthread_mutex_unlock(&host->mutex);
    if (is_doubtful) {
        log_event(RUNNER_LOG_WARN, "plugin.doubtful", "host", host->config->name, "kind",
                  loader_kind_name(instance->plugin->desc.kind), "plugin", instance->plugin->desc.name, "error",
                  err.message, NULL);
        return true;
    }
    learn(host, instance, is_good ? NULL : err.message);
    if (is_good != was_good)
        log_news(host, instance, is_good ? NULL : err.message);
    return false;
}

bool host_check_again(struct host *host, struct runner_call *call)
{
    bool is_doubtful = false;

    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++)
        for (struct instance *instance = host->instances[kind]; instance != NULL; instance = instance->next)
            is_doubtful = check_again(host, instance, call) || is_doubtful;
    return is_doubtful;
}

bool host_is_network_ill(struct host *host)
{
    const struct instance *network = host->instances[RUNNER_NETWORK];
    bool is_ill;

    pthread_mutex_lock(&host->mutex);
    is_ill = network != NULL && (network->problem != NULL || network->is_doubtful);
    pthread_mutex_unlock(&host->mutex);
    return is_ill;
}

static bool is_good(const struct instance *vmm, uint64_t caps)
{
    return vmm->is_checked && vmm->problem == NULL && (vmm->plugin->desc.caps & caps) == caps;
}

/* These three are called with the mutex held. */
static struct instance *good_vmm(struct host *host, uint64_t caps, const char *preferred)
{
    struct instance *vmm = preferred != NULL ? host_vmm(host, preferred) : NULL;

    if (vmm != NULL && is_good(vmm, caps))
        return vmm;
    for (vmm = host->instances[RUNNER_VMM]; vmm != NULL && !is_good(vmm, caps); vmm = vmm->next)
        if (!vmm->is_checked) /* it may be the better one */
            return NULL;
    return vmm;
}

static bool all_checked(const struct host *host)
{
    for (const struct instance *vmm = host->instances[RUNNER_VMM]; vmm != NULL; vmm = vmm->next)
        if (!vmm->is_checked)
            return false;
    return true;
}

static void caps_missing(const struct instance *vmm, uint64_t caps, struct str *out)
{
    str_add(out, "it lacks");
    for (unsigned bit = 0; bit < 64; bit++)
        if (caps & ~vmm->plugin->desc.caps & UINT64_C(1) << bit)
            str_addf(out, " %s", plugin_cap_name(RUNNER_VMM, bit));
}

static int no_vmm(const struct host *host, uint64_t caps, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;

    if (!all_checked(host))
        return fail(err, RUNNER_E_TIMEOUT, 0, "host '%s' is still trying its VMMs", host->config->name);
    for (const struct instance *vmm = host->instances[RUNNER_VMM]; vmm != NULL; vmm = vmm->next) {
        str_addf(&text, "%s%s: ", text.len > 0 ? "; " : "", vmm->plugin->desc.name);
        if (vmm->problem != NULL)
            str_add(&text, vmm->problem);
        else
            caps_missing(vmm, caps, &text);
    }
    return fail(err, RUNNER_E_NOTSUP, 0, "no VMM for this on host '%s': %s", host->config->name, str_text(&text));
}

int host_pick_vmm(struct host *host, struct runner_call *call, uint64_t caps, const char *preferred,
                  struct instance **ret, struct runner_error *err)
{
    struct timespec until = {.tv_sec = call->deadline_us / 1000000, .tv_nsec = call->deadline_us % 1000000 * 1000};
    struct instance *vmm = host->instances[RUNNER_VMM];
    int status = 0;

    if (vmm->next == NULL && (vmm->plugin->desc.caps & caps) == caps) {
        *ret = vmm; /* what is wrong with it is said best by what is tried */
        return 0;
    }
    pthread_mutex_lock(&host->mutex);
    while ((vmm = good_vmm(host, caps, preferred)) == NULL && !all_checked(host) && status == 0)
        status = pthread_cond_timedwait(&host->changed, &host->mutex, &until);
    status = vmm == NULL ? no_vmm(host, caps, err) : 0;
    pthread_mutex_unlock(&host->mutex);
    *ret = vmm;
    return status;
}

struct instance *host_vmm(struct host *host, const char *name)
{
    struct instance *vmm = host->instances[RUNNER_VMM];

    while (vmm != NULL && name != NULL && strcmp(vmm->plugin->desc.name, name) != 0)
        vmm = vmm->next;
    return vmm;
}

char *host_vmm_text(struct host *host)
{
    const struct instance *vmm;
    char *text = NULL;

    pthread_mutex_lock(&host->mutex);
    vmm = good_vmm(host, 0, NULL);
    if (vmm == NULL && host->instances[RUNNER_VMM]->next == NULL)
        vmm = host->instances[RUNNER_VMM];
    if (vmm != NULL)
        text = mem_dup(vmm->text);
    pthread_mutex_unlock(&host->mutex);
    return text;
}

bool host_has_uids(struct host *host)
{
    bool has;

    pthread_mutex_lock(&host->mutex);
    has = host->uids != NULL && host->uid_problem == NULL;
    pthread_mutex_unlock(&host->mutex);
    return has;
}

void host_set_uid_problem(struct host *host, const char *problem)
{
    pthread_mutex_lock(&host->mutex);
    free(host->uid_problem);
    host->uid_problem = mem_dup(problem);
    pthread_mutex_unlock(&host->mutex);
}

void host_set_up(struct host *host, const char *problem)
{
    pthread_mutex_lock(&host->mutex);
    host->is_up = problem == NULL;
    host->up_us = num_now_us();
    free(host->problem);
    host->problem = mem_dup(problem);
    if (problem != NULL) {
        host->down_ms = host->down_ms == 0 ? DOWN_MS : host->down_ms < DOWN_MAX_MS ? 2 * host->down_ms : DOWN_MAX_MS;
        host->check_at_ms = num_now_ms() + host->down_ms;
    }
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->mutex);
}

void host_set_coming(struct host *host)
{
    pthread_mutex_lock(&host->mutex);
    free(host->problem);
    host->problem = NULL;
    pthread_mutex_unlock(&host->mutex);
}

bool host_is_down(struct host *host)
{
    bool is_down;

    pthread_mutex_lock(&host->mutex);
    is_down = !host->is_up && host->problem != NULL;
    pthread_mutex_unlock(&host->mutex);
    return is_down;
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

bool host_can_begin(const struct host *host)
{
    const struct runner_transport_ops *ops = &host_plugin(host, RUNNER_TRANSPORT)->ops.transport;

    return ops->begin != NULL && ops->end != NULL;
}

int host_begin(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
               struct runner_result *results, void **ret_begun, struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_TRANSPORT, transport, begin, call, steps, n, results, ret_begun, err);
}

int host_end(struct host *host, struct runner_call *call, void *begun, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_TRANSPORT, transport, end, call, begun, steps, n, results, err);
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
