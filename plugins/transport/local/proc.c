/* KILL, ALIVE and watch: processes that SPAWN started, ours or those of a runner before us. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "plugins/transport/local/child.h"
#include "plugins/transport/local/pidfile.h"

#define KILLED_MS 30000 /* how long a killed process may take to go: its memory is freed first */

int proc_find(struct local *self, const char *path, pid_t *ret_pid, int *ret_pidfd, int *ret_status,
              struct runner_error *err)
{
    *ret_pidfd = -1;
    *ret_status = -1;
    switch (child_find(self, path, ret_pid, ret_status, ret_pidfd)) {
    case CHILD_RUNS:
        if (*ret_pidfd < 0)
            return fail_errno(err, EMFILE, "process of '%s'", path);
        return 0;
    case CHILD_ENDED:
        return 1;
    case CHILD_UNKNOWN:
        break;
    }
    return pidfile_find(self, path, ret_pid, ret_pidfd, err);
}

int proc_alive(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_close int pidfd = -1;
    pid_t pid = 0;
    int status = -1, r;

    switch (child_find(a->self, step->path, &pid, &status, NULL)) { /* no descriptor is needed of a child of ours */
    case CHILD_RUNS:
        r = 0;
        break;
    case CHILD_ENDED:
        r = 1;
        break;
    default:
        r = pidfile_find(a->self, step->path, &pid, &pidfd, err);
    }
    if (r < 0)
        return -1;
    result->status = r;
    if (r == 0)
        result->number = pid;
    else
        result->number2 = status;
    return 0;
}

int proc_kill(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    auto_close int pidfd = -1;
    pid_t pid = 0;
    int n, status, r = proc_find(a->self, step->path, &pid, &pidfd, &status, err);

    if (r < 0)
        return -1;
    result->status = r;
    if (r == 1)
        return 0;
    if (pidfd_send_signal(pidfd, (int)step->number, NULL, 0) < 0) {
        if (errno != ESRCH)
            return fail_errno(err, errno, "signal %d to process %d", (int)step->number, (int)pid);
        result->status = 1;
        return 0;
    }
    if (step->number != SIGKILL)
        return 0;
    n = act_wait(a, pidfd, POLLIN, KILLED_MS);
    if (n < 0)
        return fail_errno(err, errno, "end of process %d", (int)pid);
    if (n == 0)
        return fail(err, RUNNER_E_TIMEOUT, 0, "process %d did not end within %d ms of SIGKILL", (int)pid, KILLED_MS);
    child_reap(a->self);
    return 0;
}

int proc_watch(const struct act *a, const char *pid_path, int *ret_fd, struct runner_error *err)
{
    pid_t pid = 0;
    int status, r = proc_find(a->self, pid_path, &pid, ret_fd, &status, err);

    return r == 1 ? fail(err, RUNNER_E_NOTFOUND, 0, "no process of '%s' runs", pid_path) : r;
}
