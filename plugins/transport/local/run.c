/* Steps in order; undo in reverse. */
#include "plugins/transport/local/kept.h"

#include <string.h>

/* Looks: sees, or changes, what a process that was begun has done. */
enum { NEEDS_PATH = 1, NEEDS_TO = 2, NEEDS_ARGV = 4, IS_NAME = 8, LOOKS = 16 };

static const struct {
    const char *name;
    step_fn *fn;
    unsigned needs;
} kinds[] = {
    [RUNNER_RUN] = {"run", command_run, NEEDS_ARGV | LOOKS},
    [RUNNER_SPAWN] = {"spawn", spawn_run, NEEDS_ARGV | LOOKS},
    [RUNNER_MKDIR] = {"mkdir", file_mkdir, NEEDS_PATH},
    [RUNNER_WRITE] = {"write", file_write, NEEDS_PATH},
    [RUNNER_READ] = {"read", file_read, NEEDS_PATH | LOOKS},
    [RUNNER_CLONE] = {"clone", copy_clone, NEEDS_PATH | NEEDS_TO},
    [RUNNER_GROW] = {"grow", file_grow, NEEDS_PATH},
    [RUNNER_RENAME] = {"rename", file_rename, NEEDS_PATH | NEEDS_TO},
    [RUNNER_REMOVE] = {"remove", tree_remove, NEEDS_PATH},
    [RUNNER_STAT] = {"stat", file_stat, NEEDS_PATH | LOOKS},
    [RUNNER_LIST] = {"list", file_list, NEEDS_PATH | LOOKS},
    [RUNNER_STATFS] = {"statfs", file_statfs, NEEDS_PATH},
    [RUNNER_TAP_ADD] = {"tap_add", tap_add, IS_NAME},
    [RUNNER_TAP_DEL] = {"tap_del", tap_del, IS_NAME},
    [RUNNER_KILL] = {"kill", proc_kill, NEEDS_PATH | LOOKS},
    [RUNNER_ALIVE] = {"alive", proc_alive, NEEDS_PATH | LOOKS},
    [RUNNER_PATCH] = {"patch", file_patch, NEEDS_PATH},
    [RUNNER_OWN] = {"own", own_run, NEEDS_PATH},
    [RUNNER_CGROUP_DEL] = {"cgroup_del", cgroup_del, IS_NAME | LOOKS},
    [RUNNER_CGROUP_SET] = {"cgroup_set", cgroup_set, IS_NAME | LOOKS},
    [RUNNER_WAIT] = {"wait", growth_run, NEEDS_PATH | LOOKS},
    [RUNNER_ADOPT] = {"adopt", adopt_run, NEEDS_PATH | NEEDS_TO | NEEDS_ARGV | LOOKS},
    [RUNNER_NETLINK] = {"netlink", messages_run, 0},
    [RUNNER_CONNTRACK_DEL] = {"conntrack_del", conntrack_del, IS_NAME},
};

static int check_path(const char *kind, const char *path, struct runner_error *err)
{
    if (path == NULL || path[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "%s: path '%s' is not absolute", kind, path != NULL ? path : "");
    return 0;
}

static int check_step(const struct runner_step *step, struct runner_error *err)
{
    const char *name;
    unsigned needs;

    if (step->kind >= ARRAY_LEN(kinds) || kinds[step->kind].fn == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "step kind %u is unknown to transport/local", step->kind);
    name = kinds[step->kind].name;
    needs = kinds[step->kind].needs;
    if ((needs & NEEDS_PATH) && check_path(name, step->path, err) < 0)
        return -1;
    if ((needs & NEEDS_TO) && check_path(name, step->to, err) < 0)
        return -1;
    if ((needs & NEEDS_ARGV) && (step->argv == NULL || step->argv[0] == NULL || step->argv[0][0] == '\0'))
        return fail(err, RUNNER_E_INVALID, 0, "%s: no program is named", name);
    if ((needs & IS_NAME) && step->path == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "%s: nothing is named", name);
    return 0;
}

static int run_one(const struct act *a, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    if (check_step(step, err) < 0 || ((kinds[step->kind].needs & LOOKS) && spawn_end(a, err) < 0))
        return -1;
    kept_prepare(a->kept, step);
    return kinds[step->kind].fn(a, step, result, err);
}

static void undo_steps(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_error *err)
{
    auto_kept struct kept kept = KEPT_INIT;
    struct act undo = *a;

    undo.is_undo = true;
    undo.begun = NULL;
    undo.kept = &kept;
    while (n-- > 0) {
        struct runner_result result = {.size = sizeof result};
        struct runner_error cause = ERROR_INIT;

        if (steps[n]->undo != NULL && run_one(&undo, steps[n]->undo, &result, &cause) < 0)
            error_append(err, "not undone: %s", cause.message);
        local_host->release(result.out);
    }
}

static void clear_result(struct runner_result *result)
{
    result->size = sizeof *result;
    result->status = 0;
    result->number = result->number2 = 0;
    result->out = NULL;
    result->len = 0;
}

/* What is there for the case that the step before found nothing, and it found something. */
static bool is_left_out(const struct runner_step *const *steps, const struct runner_result *results, size_t i)
{
    return (steps[i]->flags & RUNNER_S_ELSE) && i > 0 && results[i - 1].status == 0;
}

/* How many were done; *cause: why not all. */
static size_t do_steps(const struct act *a, const struct runner_step *const *steps, size_t n,
                       struct runner_result *results, struct runner_error *cause)
{
    auto_kept struct kept kept = KEPT_INIT;
    struct act act = *a;

    act.kept = &kept;
    for (size_t i = 0; i < n; i++) {
        clear_result(&results[i]);
        if (is_left_out(steps, results, i))
            continue;
        if (act_check(&act, cause) < 0 || run_one(&act, steps[i], &results[i], cause) < 0)
            return i;
    }
    return n;
}

/* A process gets to its program while the steps behind are done. */
int run_steps(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_result *results,
              struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT, spawn = ERROR_INIT;
    struct spawn *begun = NULL;
    struct act act = *a;
    size_t done;

    act.begun = &begun;
    done = do_steps(&act, steps, n, results, &cause);
    if (spawn_end(&act, &spawn) < 0)
        error_copy(&cause, &spawn);
    else if (done == n)
        return 0;
    undo_steps(&act, steps, done, &cause);
    if (err != NULL)
        error_copy(err, &cause);
    return -1;
}
