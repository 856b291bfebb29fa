#include "core/instance.h"

#include <pthread.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"

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

void instance_enter(struct instance *instance)
{
    struct gate *gate = instance->gate;

    if (gate == NULL)
        return;
    pthread_mutex_lock(&gate->mutex);
    while (gate->is_taken)
        pthread_cond_wait(&gate->free, &gate->mutex);
    gate->is_taken = true;
    pthread_mutex_unlock(&gate->mutex);
}

void instance_leave(struct instance *instance)
{
    struct gate *gate = instance->gate;

    if (gate == NULL)
        return;
    pthread_mutex_lock(&gate->mutex);
    gate->is_taken = false;
    pthread_cond_signal(&gate->free);
    pthread_mutex_unlock(&gate->mutex);
}

static int instance_new(const struct config_section *section, struct instance **ret, struct runner_error *err)
{
    struct instance *instance = mem_alloc(sizeof *instance);

    instance->plugin = section->plugin;
    instance->section = section;
    if (section->plugin->desc.create(section->values, section->n_values, &instance->self, err) < 0) {
        free(instance);
        return error_wrap(err, "%s", section->where);
    }
    instance->gate = gate_for(section->plugin);
    *ret = instance;
    return 0;
}

int instances_new(const struct config_section *section, struct instance **ret, struct runner_error *err)
{
    struct instance *first = NULL, **link = &first;

    for (; section != NULL && section->plugin != NULL; section = section->next) {
        if (instance_new(section, link, err) < 0) {
            instances_free(first);
            return -1;
        }
        link = &(*link)->next;
    }
    *ret = first;
    return 0;
}

void instances_free(struct instance *instance)
{
    while (instance != NULL) {
        struct instance *next = instance->next;

        instance->plugin->desc.destroy(instance->self);
        gate_free(instance->gate);
        free(instance->problem);
        free(instance->text);
        free(instance);
        instance = next;
    }
}

int instance_check(struct instance *instance, struct runner_call *call, struct runner_error *err)
{
    int status;

    if (instance->plugin->desc.check == NULL)
        return 0;
    instance_enter(instance);
    status = instance->plugin->desc.check(instance->self, call, err);
    instance_leave(instance);
    return status;
}
