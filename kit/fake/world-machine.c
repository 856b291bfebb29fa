/* Steps on interfaces and processes, in the world. */
#include <string.h>
#include <unistd.h>

#include "core/util/error.h"
#include "kit/fake/world-inner.h"

enum { FAKE_PID = 4711 };

static int do_tap_add(struct world *w, const struct runner_step *step, struct runner_result *result,
                      struct runner_error *err)
{
    struct item *idle = step->flags & RUNNER_S_IDLE ? world_find(w, "i", step->path) : NULL;

    (void)result;
    if (strlen(step->path) < 1 || strlen(step->path) > 15)
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no interface name", step->path);
    if (idle != NULL)
        world_drop(w, idle);
    if (world_find(w, "ti", step->path) != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "interface '%s' is there", step->path);
    (void)world_put(w, 't', step->path);
    return 0;
}

static int do_tap_del(struct world *w, const struct runner_step *step, struct runner_result *result,
                      struct runner_error *err)
{
    struct item *item = world_find(w, "ti", step->path);

    (void)result, (void)err;
    if (item == NULL)
        return 0;
    world_drop(w, item);
    if (step->data != NULL && world_find(w, "ti", step->data) == NULL)
        (void)world_put(w, 'i', step->data);
    return 0;
}

static int put_fds(struct world *w, const struct runner_spawn *spawn, struct runner_error *err)
{
    for (uint32_t i = 0; i < spawn->n_fds; i++) {
        const struct runner_fd *fd = &spawn->fds[i];
        struct item *item;

        if (fd->kind == RUNNER_FD_TAP) /* made by another batch, or not at all */
            continue;
        if ((fd->kind == RUNNER_FD_READWRITE || fd->kind == RUNNER_FD_READ) && world_find(w, "f", fd->path) == NULL)
            return world_absent(err, fd->path);
        item = world_put_file(w, fd->path, err);
        if (item == NULL)
            return -1;
        if (fd->kind == RUNNER_FD_LISTEN || fd->kind == RUNNER_FD_FIFO)
            item->kind = 's';
    }
    return 0;
}

static int do_spawn(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    const struct runner_spawn *spawn = step->spawn;

    if (world_find(w, "p", spawn->pid_path) != NULL)
        return fail(err, RUNNER_E_BUSY, 0, "the process of '%s' runs", spawn->pid_path);
    if (put_fds(w, spawn, err) < 0 || world_put_file(w, spawn->pid_path, err) == NULL ||
        (spawn->output_path != NULL && world_put_file(w, spawn->output_path, err) == NULL))
        return -1;
    (void)world_put(w, 'p', spawn->pid_path);
    result->number = FAKE_PID;
    result->number2 = (spawn->uid != 0 ? RUNNER_SPAWNED_UID : 0) | (spawn->cgroup != NULL ? RUNNER_SPAWNED_CGROUP : 0);
    return 0;
}

static int do_kill(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    struct item *item = world_find(w, "p", step->path);

    (void)err;
    result->status = item == NULL;
    if (item != NULL && step->number != 0)
        world_drop(w, item);
    return 0;
}

static int do_alive(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    (void)err;
    result->status = world_find(w, "p", step->path) == NULL;
    result->number = result->status == 0 ? FAKE_PID : 0;
    result->number2 = -1;
    return 0;
}

static int do_adopt(struct world *w, const struct runner_step *step, struct runner_result *result,
                    struct runner_error *err)
{
    if (world_find(w, "s", step->to) == NULL && access(step->to, F_OK) < 0) { /* dialling is for real */
        result->status = 1;
        return 0;
    }
    if (world_put_file(w, step->path, err) == NULL)
        return -1;
    if (world_find(w, "p", step->path) == NULL)
        (void)world_put(w, 'p', step->path);
    result->number = FAKE_PID;
    return 0;
}

static int do_wait(struct world *w, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    struct item *item = world_find(w, "f", step->path);

    (void)err;
    result->number = item != NULL ? item->size : 0;
    result->status = result->number <= step->number; /* nobody writes here: the process ended before */
    return 0;
}

static int do_run(struct world *w, const struct runner_step *step, struct runner_result *result,
                  struct runner_error *err)
{
    (void)w, (void)step, (void)err;
    world_give(result, "", 0);
    return 0;
}

static int do_nothing(struct world *w, const struct runner_step *step, struct runner_result *result,
                      struct runner_error *err)
{
    (void)w, (void)step, (void)result, (void)err;
    return 0;
}

world_do_fn *const world_machine_steps[WORLD_STEPS] = {
    [RUNNER_RUN] = do_run,         [RUNNER_SPAWN] = do_spawn,         [RUNNER_TAP_ADD] = do_tap_add,
    [RUNNER_TAP_DEL] = do_tap_del, [RUNNER_KILL] = do_kill,           [RUNNER_ALIVE] = do_alive,
    [RUNNER_WAIT] = do_wait,       [RUNNER_CGROUP_DEL] = do_nothing,  [RUNNER_ADOPT] = do_adopt,
    [RUNNER_CGROUP_SET] = do_nothing,
    [RUNNER_NETLINK] = do_nothing, [RUNNER_CONNTRACK_DEL] = do_nothing,
};
