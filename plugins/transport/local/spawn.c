/* SPAWN: a process that outlives the runner. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "core/util/text.h"
#include "plugins/transport/local/cgroup.h"
#include "plugins/transport/local/child.h"
#include "plugins/transport/local/given.h"
#include "plugins/transport/local/kept.h"
#include "plugins/transport/local/launch.h"
#include "plugins/transport/local/pidfile.h"

#define FDS_MAX   32
#define FD_MIN    3
#define FD_MAX    63
#define INPUT_MAX 60000
#define GOING_MS  1000 /* a process lets go of its pid file a moment before it has ended */

struct spawn { /* from its step to the exec of its program */
    const struct runner_step *step;
    const struct runner_spawn *how;
    struct runner_result *result;
    struct pidfile pid_file;
    int opened[FDS_MAX + 2]; /* to close when it was started or not */
    size_t n_opened;
    bool has_limits; /* of its cgroup */
    char *program;
    struct launch l;
    struct launching *way;
};

static int check_how(const struct runner_step *step, struct runner_error *err)
{
    const struct runner_spawn *how = step->spawn;
    uint64_t seen = 0;

    if (step->len > INPUT_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "spawn: %zu bytes for standard input, at most %d", step->len, INPUT_MAX);
    if (how == NULL || how->pid_path == NULL || how->pid_path[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "spawn: no pid file is named");
    if (how->output_path != NULL && how->output_path[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "spawn: output path '%s' is not absolute", how->output_path);
    if (how->n_fds > FDS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "spawn: %u descriptors, at most %d", how->n_fds, FDS_MAX);
    for (uint32_t i = 0; i < how->n_fds; i++) {
        const struct runner_fd *fd = &how->fds[i];

        if (fd->number < FD_MIN || fd->number > FD_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "spawn: descriptor %d is not %d to %d", fd->number, FD_MIN, FD_MAX);
        if (seen & (UINT64_C(1) << fd->number))
            return fail(err, RUNNER_E_INVALID, 0, "spawn: descriptor %d is given twice", fd->number);
        if (fd->path == NULL || (fd->path[0] != '/' && fd->kind != RUNNER_FD_TAP))
            return fail(err, RUNNER_E_INVALID, 0, "spawn: descriptor %d has no absolute path", fd->number);
        seen |= UINT64_C(1) << fd->number;
    }
    if (RUNNER_HAS(how, cgroup) && !text_is_id(how->cgroup))
        return fail(err, RUNNER_E_INVALID, 0, "spawn: '%s' is no name of a cgroup", how->cgroup);
    return 0;
}

static int give_fd(struct spawn *s, int fd, int number, const char *what, struct runner_error *err)
{
    if (fd < 0)
        return fail_errno(err, errno, "open '%s'", what);
    s->opened[s->n_opened++] = fd;
    launch_add_fd(&s->l, fd, number);
    return 0;
}

static int open_all(const struct act *a, struct spawn *s, const struct runner_step *step, struct runner_error *err)
{
    int input = -1, dir;
    const char *name, *output = s->how->output_path != NULL ? s->how->output_path : "/dev/null";

    if (launch_input(step->data, step->len, &input, err) < 0 || give_fd(s, input, 0, "standard input", err) < 0)
        return -1;
    dir = kept_at(a->kept, output, &name);
    if (give_fd(s, openat(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600), 1,
                output, err) < 0)
        return -1;
    launch_add_fd(&s->l, s->opened[1], 2);
    launch_add_fd(&s->l, s->pid_file.lock, PIDFILE_FD);
    for (uint32_t i = 0; i < s->how->n_fds; i++) {
        int fd = -1;

        if (given_open(a, &s->how->fds[i], &fd, err) < 0 ||
            give_fd(s, fd, s->how->fds[i].number, s->how->fds[i].path, err) < 0)
            return -1;
    }
    return 0;
}

static void remove_given(const struct spawn *s)
{
    for (size_t i = 2; i < s->n_opened; i++)
        given_remove(&s->how->fds[i - 2]);
}

static void note(const struct act *a, const struct spawn *s, const char *why)
{
    struct runner_field fields[] = {{"cgroup", s->how->cgroup}, {"why", why}};

    local_host->log(a->call, RUNNER_LOG_DEBUG, "transport.cgroup", fields, ARRAY_LEN(fields));
}

/* A process without its cgroup is better than none. */
static void make_cgroup(const struct act *a, struct spawn *s)
{
    const struct runner_spawn *how = s->how;
    struct cgroup_limits limits = {how->cgroup_memory_bytes, how->cgroup_tasks};
    struct runner_error err = ERROR_INIT;

    if (cgroup_make(a, how->cgroup, &limits, &s->l.cgroup, &s->has_limits, &err) < 0)
        note(a, s, err.message);
    else if (!s->has_limits)
        note(a, s, "not all of its limits can be set");
}

/* A child of ours that let go of its lock has ended, or is about to. */
static int await_old(const struct act *a, const char *pid_path, struct runner_error *err)
{
    auto_close int pidfd = -1;
    pid_t pid;
    int status;

    if (child_find(a->self, pid_path, &pid, &status, &pidfd) != CHILD_RUNS)
        return 0;
    if (act_wait(a, pidfd, POLLIN, GOING_MS) < 0)
        return fail_errno(err, errno, "end of process %d", (int)pid);
    if (child_find(a->self, pid_path, &pid, &status, NULL) == CHILD_RUNS)
        return fail(err, RUNNER_E_BUSY, 0, "pid file '%s': process %d still runs, without its lock", pid_path,
                    (int)pid);
    return 0;
}

static int begin(const struct act *a, struct spawn *s, struct runner_error *err)
{
    if (launch_as(&s->l, a->self, s->how, err) < 0 || await_old(a, s->how->pid_path, err) < 0 ||
        launch_find(s->step->argv[0], &s->program, err) < 0 || open_all(a, s, s->step, err) < 0)
        return -1;
    s->l.program = s->program;
    if (RUNNER_HAS(s->how, cgroup))
        make_cgroup(a, s);
    return launch_begin(&s->l, &s->way, err);
}

static int64_t what_was_done(const struct act *a, const struct spawn *s, const struct launched *launched)
{
    if (launched->in_cgroup)
        return (s->l.uid != 0 ? RUNNER_SPAWNED_UID : 0) | RUNNER_SPAWNED_CGROUP |
               (s->has_limits ? RUNNER_SPAWNED_LIMITS : 0);
    if (s->l.cgroup >= 0) {
        note(a, s, "the process could not be started in it");
        cgroup_drop(a, s->how->cgroup);
    }
    return s->l.uid != 0 ? RUNNER_SPAWNED_UID : 0;
}

static void prepare(struct spawn *s)
{
    s->l = (struct launch){.argv = s->step->argv,
                           .env = s->how->env != NULL ? s->how->env : launch_env,
                           .pid_file = s->pid_file.writer,
                           .cgroup = -1,
                           .nofile = s->how->nofile,
                           .umask = 077,
                           .dumps_no_core = true};
}

static void spawn_free(struct spawn *s)
{
    for (size_t i = 0; i < s->n_opened; i++)
        close(s->opened[i]);
    if (s->l.cgroup >= 0)
        close(s->l.cgroup);
    close(s->pid_file.lock);
    close(s->pid_file.writer);
    free(s->program);
    free(s);
}

/* It does not run: nothing of it stays. */
static int give_up(const struct act *a, struct spawn *s, struct runner_error *err)
{
    if (s->l.cgroup >= 0)
        cgroup_drop(a, s->how->cgroup);
    remove_given(s);
    (void)unlink(s->how->pid_path); /* while it is locked: nobody can be using it */
    error_wrap(err, "spawn '%s'", s->step->argv[0]);
    spawn_free(s);
    return -1;
}

static int end(const struct act *a, struct spawn *s, struct runner_error *err)
{
    struct launched launched;

    if (launch_end(s->way, &launched, err) < 0)
        return give_up(a, s, err);
    child_add(a->self, s->how->pid_path, launched.pid, launched.pidfd);
    s->result->number = launched.pid;
    s->result->number2 = what_was_done(a, s, &launched);
    spawn_free(s);
    return 0;
}

int spawn_end(const struct act *a, struct runner_error *err)
{
    struct spawn *s = a->begun != NULL ? *a->begun : NULL;

    if (s == NULL)
        return 0;
    *a->begun = NULL;
    return end(a, s, err);
}

int spawn_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    struct pidfile pid_file;
    struct spawn *s;

    if (check_how(step, err) < 0 || pidfile_lock(a, step->spawn->pid_path, &pid_file, err) < 0)
        return error_wrap(err, "spawn '%s'", step->argv[0]);
    s = mem_alloc(sizeof *s);
    *s = (struct spawn){.step = step, .how = step->spawn, .result = result, .pid_file = pid_file};
    prepare(s);
    if (begin(a, s, err) < 0)
        return give_up(a, s, err);
    if (a->begun == NULL)
        return end(a, s, err);
    *a->begun = s;
    return 0;
}
