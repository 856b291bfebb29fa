/* Copies of steps, what they point to included. */
#include <string.h>

#include "kit/fake/inner.h"

static char **copy_list(const char *const *list)
{
    size_t n = 0;
    char **copy;

    if (list == NULL)
        return NULL;
    while (list[n] != NULL)
        n++;
    copy = mem_array(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_dup(list[i]);
    return copy;
}

static void free_list(const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free((char *)(uintptr_t)list[i]);
    free((void *)(uintptr_t)list);
}

static struct runner_spawn *copy_spawn(const struct runner_spawn *from)
{
    struct runner_spawn *to;
    struct runner_fd *fds;

    if (from == NULL)
        return NULL;
    to = mem_alloc(sizeof *to);
    memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    fds = mem_array(to->n_fds, sizeof *fds);
    for (uint32_t i = 0; i < to->n_fds; i++) {
        fds[i] = to->fds[i];
        fds[i].path = mem_dup(to->fds[i].path);
    }
    to->fds = fds;
    to->pid_path = mem_dup(to->pid_path);
    to->output_path = mem_dup(to->output_path);
    to->env = (const char *const *)copy_list(to->env);
    to->groups_of = (const char *const *)copy_list(to->groups_of);
    to->cgroup = mem_dup(to->cgroup);
    return to;
}

static void free_text(const char *text)
{
    free((char *)(uintptr_t)text);
}

static void free_spawn(const struct runner_spawn *spawn)
{
    if (spawn == NULL)
        return;
    for (uint32_t i = 0; i < spawn->n_fds; i++)
        free_text(spawn->fds[i].path);
    free((void *)(uintptr_t)spawn->fds);
    free_text(spawn->pid_path);
    free_text(spawn->output_path);
    free_list(spawn->env);
    free_list(spawn->groups_of);
    free_text(spawn->cgroup);
    free((void *)(uintptr_t)spawn);
}

static struct runner_port *copy_port(const struct runner_port *from)
{
    struct runner_port *to;

    if (from == NULL)
        return NULL;
    to = mem_alloc(sizeof *to);
    memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    to->mac = mem_dup(to->mac);
    to->address = mem_dup(to->address);
    to->also = mem_dup(to->also);
    return to;
}

static void free_port(const struct runner_port *port)
{
    if (port == NULL)
        return;
    free_text(port->mac);
    free_text(port->address);
    free_text(port->also);
    free((void *)(uintptr_t)port);
}

static struct runner_netns *copy_netns(const struct runner_netns *from)
{
    struct runner_netns *to;

    if (from == NULL)
        return NULL;
    to = mem_alloc(sizeof *to);
    memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    to->rules = to->rules != NULL ? mem_dup_n(to->rules, to->rules_len) : NULL;
    to->routes = to->routes != NULL ? mem_dup_n(to->routes, to->routes_len) : NULL;
    return to;
}

static void free_netns(const struct runner_netns *netns)
{
    if (netns == NULL)
        return;
    free((void *)(uintptr_t)netns->rules);
    free((void *)(uintptr_t)netns->routes);
    free((void *)(uintptr_t)netns);
}

struct runner_step *fake_step_copy(const struct runner_step *from)
{
    struct runner_step *to = mem_alloc(sizeof *to);

    memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    to->path = mem_dup(to->path);
    to->to = mem_dup(to->to);
    to->argv = (const char *const *)copy_list(to->argv);
    to->data = to->data != NULL ? mem_dup_n(to->data, to->len) : NULL;
    to->spawn = copy_spawn(to->spawn);
    to->port = copy_port(to->port);
    to->netns = copy_netns(to->netns);
    to->undo = to->undo != NULL ? fake_step_copy(to->undo) : NULL;
    return to;
}

void fake_step_free(struct runner_step *step)
{
    if (step == NULL)
        return;
    free_text(step->path);
    free_text(step->to);
    free_list(step->argv);
    free((void *)(uintptr_t)step->data);
    free_spawn(step->spawn);
    free_port(step->port);
    free_netns(step->netns);
    fake_step_free((struct runner_step *)(uintptr_t)step->undo);
    free(step);
}
