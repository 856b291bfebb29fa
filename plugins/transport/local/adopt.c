/* ADOPT: a process that another program started, found by the socket at which it listens. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "core/util/text.h"
#include "plugins/transport/local/child.h"
#include "plugins/transport/local/pidfile.h"

/* 0: pid began to listen at path; 1: nobody listens there. */
static int find_listener(const struct act *a, const char *path, pid_t *ret_pid, struct runner_error *err)
{
    auto_free char *address = mem_printf("unix:%s", path);
    struct runner_error cause = ERROR_INIT;
    struct ucred peer = {.pid = 0};
    socklen_t len = sizeof peer;
    auto_close int fd = -1;

    if (dial_address(a, address, &fd, &cause) < 0) {
        if (cause.code == RUNNER_E_UNREACHABLE)
            return 1;
        if (err != NULL)
            error_copy(err, &cause);
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return fail_errno(err, errno, "who listens at '%s'", path);
    if (peer.pid <= 0)
        return fail(err, RUNNER_E_INVALID, 0, "who listens at '%s' is in another pid namespace", path);
    *ret_pid = peer.pid;
    return 0;
}

static bool begins_with_one(const char *name, const char *const *words)
{
    for (; *words != NULL; words++)
        if (text_starts(name, *words, NULL))
            return true;
    return false;
}

/* A program that was replaced meanwhile has " (deleted)" behind its name, which does not matter here. */
static int check_program(pid_t pid, const struct runner_step *step, struct runner_error *err)
{
    auto_free char *link = mem_printf("/proc/%d/exe", (int)pid);
    char path[4096];
    const char *name;
    ssize_t n = readlink(link, path, sizeof path - 1);

    if (n < 0 && errno != ENOENT)
        return fail_errno(err, errno, "program of process %d, which listens at '%s'", (int)pid, step->to);
    if (n < 0) /* gone, or the kernel's own */
        return fail(err, RUNNER_E_INVALID, 0, "process %d, which began to listen at '%s', has ended", (int)pid,
                    step->to);
    path[n] = '\0';
    name = strrchr(path, '/');
    if (name == NULL || !begins_with_one(name + 1, step->argv))
        return fail(err, RUNNER_E_INVALID, 0, "process %d, which listens at '%s', is '%s', not %s", (int)pid, step->to,
                    path, step->argv[0]);
    return 0;
}

/* That of a SPAWN, or another that was adopted. */
static int check_free(const struct act *a, const char *pid_path, pid_t pid, struct runner_error *err)
{
    auto_close int pidfd = -1;
    pid_t other;
    int status, r = proc_find(a->self, pid_path, &other, &pidfd, &status, err);

    if (r < 0)
        return -1;
    return r == 0 && other != pid ? fail(err, RUNNER_E_BUSY, 0, "pid file '%s': process %d runs", pid_path, (int)other)
                                  : 0;
}

int adopt_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
              struct runner_error *err)
{
    auto_close int pidfd = -1;
    pid_t pid = 0;
    int r = find_listener(a, step->to, &pid, err);

    result->status = r == 1;
    if (r != 0)
        return r < 0 ? error_wrap(err, "adopt") : 0;
    pidfd = pidfd_open(pid, 0); /* from here on the number is nobody else's */
    if (pidfd < 0 && errno != ESRCH)
        return fail_errno(err, errno, "adopt: process %d", (int)pid);
    if (check_program(pid, step, err) < 0 || check_free(a, step->path, pid, err) < 0 ||
        pidfile_adopt(step->path, pid, err) < 0)
        return error_wrap(err, "adopt");
    child_forget(a->self, step->path);
    result->number = pid;
    return 0;
}
