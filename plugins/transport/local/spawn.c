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
#include "plugins/transport/local/launch.h"
#include "plugins/transport/local/pidfile.h"

#define FDS_MAX  32
#define FD_MIN   3
#define FD_MAX   63
#define INPUT_MAX 60000
#define GOING_MS 1000 /* a process lets go of its pid file a moment before it has ended */

struct spawn {
    const struct runner_spawn *how;
    struct pidfile pid_file;
    int opened[FDS_MAX + 2]; /* to close when it was started or not */
    size_t n_opened;
    bool has_limits; /* of its cgroup */
    struct launch l;
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

static int open_all(struct local *self, struct spawn *s, const struct runner_step *step, struct runner_error *err)
{
    int input = -1;
    const char *output = s->how->output_path != NULL ? s->how->output_path : "/dev/null";

    if (launch_input(step->data, step->len, &input, err) < 0 || give_fd(s, input, 0, "standard input", err) < 0)
        return -1;
    if (give_fd(s, open(output, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600), 1, output,
                err) < 0)
        return -1;
    launch_add_fd(&s->l, s->opened[1], 2);
    launch_add_fd(&s->l, s->pid_file.lock, PIDFILE_FD);
    for (uint32_t i = 0; i < s->how->n_fds; i++) {
        int fd = -1;

        if (given_open(self, &s->how->fds[i], &fd, err) < 0 ||
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

static int start(const struct act *a, struct spawn *s, const struct runner_step *step, struct launched *ret,
                 struct runner_error *err)
{
    auto_free char *path = NULL;

    if (await_old(a, s->how->pid_path, err) < 0 || launch_find(step->argv[0], &path, err) < 0 ||
        open_all(a->self, s, step, err) < 0)
        return -1;
    s->l.program = path;
    if (RUNNER_HAS(s->how, cgroup))
        make_cgroup(a, s);
    if (launch_start(&s->l, ret, err) == 0)
        return 0;
    if (s->l.cgroup >= 0)
        cgroup_drop(a, s->how->cgroup);
    return -1;
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

static void prepare(const struct runner_step *step, struct spawn *s)
{
    s->l = (struct launch){.argv = step->argv,
                           .env = s->how->env != NULL ? s->how->env : launch_env,
                           .pid_file = s->pid_file.writer,
                           .cgroup = -1,
                           .nofile = s->how->nofile,
                           .umask = 077,
                           .dumps_no_core = true};
}

static void close_all(const struct spawn *s)
{
    for (size_t i = 0; i < s->n_opened; i++)
        close(s->opened[i]);
    if (s->l.cgroup >= 0)
        close(s->l.cgroup);
    close(s->pid_file.lock);
    close(s->pid_file.writer);
}

int spawn_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    const struct runner_spawn *how = step->spawn;
    struct spawn s = {.how = how};
    struct launched launched;
    int r;

    if (check_how(step, err) < 0 || pidfile_lock(a, how->pid_path, &s.pid_file, err) < 0)
        return error_wrap(err, "spawn '%s'", step->argv[0]);
    prepare(step, &s);
    r = launch_as(&s.l, a->self, how, err) < 0 ? -1 : start(a, &s, step, &launched, err);
    if (r == 0) {
        child_add(a->self, how->pid_path, launched.pid, launched.pidfd);
        result->number = launched.pid;
        result->number2 = what_was_done(a, &s, &launched);
    } else {
        remove_given(&s);
        (void)unlink(how->pid_path); /* while it is locked: nobody can be using it */
        error_wrap(err, "spawn '%s'", step->argv[0]);
    }
    close_all(&s);
    return r;
}
