/* The cgroup of one process, CGROUP_DEL and CGROUP_SET. */
#include "plugins/transport/local/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define KILLED_MS 30000 /* as in proc.c: memory is freed first */

static int write_number(int dir, const char *file, uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return cgroup_write(dir, file, text);
}

static bool set_limits(int dir, unsigned controllers, const struct cgroup_limits *limits)
{
    bool is_set = true;

    if (limits->memory_bytes != 0) {
        is_set = (controllers & CGROUP_MEMORY) && write_number(dir, "memory.max", limits->memory_bytes) == 0;
        /* A guest that is swapped out stalls, and a limit that swap gets round is none. Absent without swap. */
        if (is_set && cgroup_write(dir, "memory.swap.max", "0") < 0 && errno != ENOENT)
            is_set = false;
    }
    if (limits->tasks != 0)
        is_set = (controllers & CGROUP_PIDS) && write_number(dir, "pids.max", limits->tasks) == 0 && is_set;
    return is_set;
}

/* 1: processes are in it; 0: none; -1 with errno. */
static int is_populated(int events_fd)
{
    char text[256];
    ssize_t n = pread(events_fd, text, sizeof text - 1, 0);

    if (n < 0)
        return -1;
    text[n] = '\0';
    return strstr(text, "populated 1") != NULL;
}

/* Kills what is in it and waits until that is gone. */
static int empty(const struct act *a, int dir, struct runner_error *err)
{
    auto_close int events = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
    int64_t end = num_now_ms() + KILLED_MS;
    int r = events >= 0 ? is_populated(events) : -1;

    if (r == 1 && cgroup_write(dir, "cgroup.kill", "1") < 0)
        return fail_errno(err, errno, "kill its processes");
    while (r == 1) { /* each reading arms the event anew */
        int64_t left = end - num_now_ms();

        if (left <= 0)
            return fail(err, RUNNER_E_TIMEOUT, 0, "its processes did not end within %d ms of SIGKILL", KILLED_MS);
        if (act_wait(a, events, POLLPRI, left) < 0)
            return fail_errno(err, errno, "end of its processes");
        r = is_populated(events);
    }
    return r < 0 ? fail_errno(err, errno, "cgroup.events") : 0;
}

static int remove_one(const struct act *a, int parent, const char *name, struct runner_error *err)
{
    auto_close int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (dir < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "open");
    if (empty(a, dir, err) < 0)
        return -1;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return fail_errno(err, errno, "remove");
    return 0;
}

static int make_in(const struct act *a, int parent, const char *name, struct runner_error *err)
{
    if (mkdirat(parent, name, 0755) == 0)
        return 0;
    if (errno != EEXIST)
        return fail_errno(err, errno, "make");
    /* Of an earlier process, which is gone: its pid file's lock is ours. What it left behind goes too. */
    if (remove_one(a, parent, name, err) < 0)
        return -1;
    return mkdirat(parent, name, 0755) == 0 ? 0 : fail_errno(err, errno, "make");
}

int cgroup_make(const struct act *a, const char *name, const struct cgroup_limits *limits, int *ret_fd,
                bool *ret_has_limits, struct runner_error *err)
{
    auto_close int parent = -1;
    unsigned controllers;

    for (int i = 0;; i++) { /* a second time when somebody tidied up */
        cleanup_close(&parent);
        if (cgroups_open(a, i > 0, &parent, &controllers, err) < 0)
            return -1;
        if (make_in(a, parent, name, err) == 0)
            break;
        if (i > 0 || (err->sys_errno != ENOENT && err->sys_errno != ENODEV))
            return error_wrap(err, "cgroup '%s'", name);
    }
    *ret_fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0) {
        fail_errno(err, errno, "cgroup '%s'", name);
        (void)unlinkat(parent, name, AT_REMOVEDIR);
        return -1;
    }
    *ret_has_limits = set_limits(*ret_fd, controllers, limits);
    return 0;
}

void cgroup_drop(const struct act *a, const char *name)
{
    auto_close int parent = -1;
    unsigned controllers;

    if (cgroups_open(a, false, &parent, &controllers, NULL) == 0)
        (void)unlinkat(parent, name, AT_REMOVEDIR);
}

int cgroup_del(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_close int parent = -1;
    int status;

    (void)result;
    if (!text_is_id(step->path))
        return fail(err, RUNNER_E_INVALID, 0, "cgroup_del: '%s' is no name of a cgroup", step->path);
    status = cgroups_find(a, &parent, err);
    if (status == 0)
        status = remove_one(a, parent, step->path, err);
    return status < 0 ? error_wrap(err, "remove cgroup '%s'", step->path) : 0;
}

int cgroup_set(const struct act *a, const struct runner_step *step, struct runner_result *result,
               struct runner_error *err)
{
    auto_close int parent = -1, dir = -1;
    unsigned controllers;

    if (!text_is_id(step->path) || step->number <= 0)
        return fail(err, RUNNER_E_INVALID, 0, "cgroup_set: %lld bytes for '%s'", (long long)step->number, step->path);
    result->status = 1;
    if (cgroups_open(a, false, &parent, &controllers, NULL) < 0 || !(controllers & CGROUP_MEMORY))
        return 0;
    dir = openat(parent, step->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "cgroup '%s'", step->path);
    if (write_number(dir, "memory.max", (uint64_t)step->number) < 0)
        return fail_errno(err, errno, "memory limit of cgroup '%s'", step->path);
    result->status = 0;
    return 0;
}
