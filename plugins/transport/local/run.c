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

/* Where it is known what it would find: nothing. */
static bool is_known(const struct act *a, const struct runner_step *step, struct runner_result *result)
{
    bool is_optional = step->kind == RUNNER_RENAME && (step->flags & RUNNER_S_OPTIONAL);

    if ((step->kind != RUNNER_REMOVE && !is_optional) || !kept_lacks(a->kept, step->path))
        return false;
    result->status = is_optional ? 1 : 0;
    return true;
}

static int run_one(const struct act *a, const struct runner_step *step, struct runner_result *result,
                   struct runner_error *err)
{
    if (check_step(step, err) < 0 || ((kinds[step->kind].needs & LOOKS) && spawn_end(a, err) < 0))
        return -1;
    if (is_known(a, step, result))
        return 0;
    kept_prepare(a->kept, step);
    if (kinds[step->kind].fn(a, step, result, err) < 0)
        return -1;
    kept_note(a->kept, step);
    return 0;
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

/* A batch on its way, of which the first part may have been done. */
struct run {
    struct act act;
    struct kept kept;
    struct spawn *begun;
    const struct runner_step *const *first;
    size_t n_first;
};

static void run_init(struct run *run, const struct act *a)
{
    *run = (struct run){.act = *a, .kept = KEPT_INIT};
    run->act.kept = &run->kept;
    run->act.begun = &run->begun;
}

/* How many were done; *cause: why not all. */
static size_t do_steps(const struct run *run, const struct runner_step *const *steps, size_t n,
                       struct runner_result *results, struct runner_error *cause)
{
    for (size_t i = 0; i < n; i++) {
        clear_result(&results[i]);
        if (is_left_out(steps, results, i))
            continue;
        if (act_check(&run->act, cause) < 0 || run_one(&run->act, steps[i], &results[i], cause) < 0)
            return i;
    }
    return n;
}

/* A process gets to its program while the steps behind are done. -1: not all were, or it did not. */
static int come_to_end(struct run *run, bool is_all, struct runner_error *cause)
{
    struct runner_error spawn = ERROR_INIT;

    kept_done(&run->kept);
    if (spawn_end(&run->act, &spawn) < 0) {
        error_copy(cause, &spawn);
        return -1;
    }
    return is_all ? 0 : -1;
}

int run_steps(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_result *results,
              struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    struct run run;
    size_t done;

    run_init(&run, a);
    done = do_steps(&run, steps, n, results, &cause);
    if (come_to_end(&run, done == n, &cause) == 0)
        return 0;
    undo_steps(a, steps, done, &cause);
    if (err != NULL)
        error_copy(err, &cause);
    return -1;
}

int run_begin(const struct act *a, const struct runner_step *const *steps, size_t n, struct runner_result *results,
              struct run **ret, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    struct run *run = mem_alloc(sizeof *run);
    size_t done;

    run_init(run, a);
    run->first = steps;
    run->n_first = n;
    done = do_steps(run, steps, n, results, &cause);
    if (done == n) {
        *ret = run;
        return 0;
    }
    (void)come_to_end(run, false, &cause);
    free(run);
    undo_steps(a, steps, done, &cause);
    if (err != NULL)
        error_copy(err, &cause);
    return -1;
}

/* A process that did not come to its program has nothing to undo. */
static int run_abandon(const struct act *a, struct run *run, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT, left = ERROR_INIT;

    (void)come_to_end(run, true, &cause);
    undo_steps(a, run->first, run->n_first, &left);
    free(run);
    if (left.message[0] == '\0')
        return 0;
    return fail(err, RUNNER_E_IO, 0, "%s", left.message);
}

int run_end(const struct act *a, struct run *run, const struct runner_step *const *steps, size_t n,
            struct runner_result *results, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    size_t done;

    run->act.call = a->call;
    if (results == NULL)
        return run_abandon(a, run, err);
    run->kept.new_dir = NULL; /* another batch may have been there meanwhile */
    done = do_steps(run, steps, n, results, &cause);
    if (come_to_end(run, done == n, &cause) == 0) {
        free(run);
        return 0;
    }
    undo_steps(a, steps, done, &cause);
    undo_steps(a, run->first, run->n_first, &cause);
    free(run);
    if (err != NULL)
        error_copy(err, &cause);
    return -1;
}
