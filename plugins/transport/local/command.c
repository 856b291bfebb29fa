/* RUN: a program, its output, its status. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "core/util/num.h"
#include "plugins/transport/local/launch.h"

#define OUTPUT_MAX (1 << 20)
#define STDERR_MAX 4096 /* what is kept of it, at its end */

struct command {
    const char *name;
    int input, out, err, epoll_fd, pidfd; /* out, err: our ends */
    pid_t pid;                            /* 0: not running */
    bool has_ended, is_too_long;
    struct str out_text, err_text;
};
#define COMMAND_INIT                                                                                                   \
    {                                                                                                                  \
        .input = -1, .out = -1, .err = -1, .epoll_fd = -1, .pidfd = -1                                                 \
    }

static int wait_status(struct command *c)
{
    siginfo_t info = {0};

    while (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    c->pid = 0;
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static void command_done(struct command *c)
{
    if (c->pid != 0) {
        (void)kill(-c->pid, SIGKILL); /* its session; it is not reaped yet, so the number is its own */
        (void)wait_status(c);
    }
    cleanup_close(&c->input);
    cleanup_close(&c->out);
    cleanup_close(&c->err);
    cleanup_close(&c->epoll_fd);
    cleanup_close(&c->pidfd);
    str_done(&c->out_text);
    str_done(&c->err_text);
}

static int watch_fd(struct command *c, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int command_start(const struct act *a, struct command *c, const struct runner_step *step,
                         struct runner_result *result, struct runner_error *err)
{
    auto_free char *program = NULL;
    auto_close int out = -1, errors = -1;
    int pair[2];
    struct launch l = {
        .argv = step->argv, .env = launch_env, .pid_file = -1, .cgroup = -1, .umask = 022, .dies_with_us = true};
    struct launched launched;

    if ((step->spawn != NULL && launch_as(&l, a->self, step->spawn, err) < 0) ||
        launch_find(step->argv[0], &program, err) < 0)
        return -1;
    if (launch_input(step->data, step->len, &c->input, err) < 0)
        return error_wrap(err, "run '%s'", c->name);
    if (pipe2(pair, O_CLOEXEC) < 0)
        return fail_errno(err, errno, "run '%s': pipe", c->name);
    c->out = pair[0];
    out = pair[1];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return fail_errno(err, errno, "run '%s': pipe", c->name);
    c->err = pair[0];
    errors = pair[1];
    l.program = program;
    launch_add_fd(&l, c->input, 0);
    launch_add_fd(&l, out, 1);
    launch_add_fd(&l, errors, 2);
    if (fcntl(c->out, F_SETFL, O_NONBLOCK) < 0 || fcntl(c->err, F_SETFL, O_NONBLOCK) < 0 ||
        (c->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        return fail_errno(err, errno, "run '%s': pipe", c->name);
    if (launch_start(&l, &launched, err) < 0)
        return -1;
    c->pid = launched.pid;
    c->pidfd = launched.pidfd;
    result->number2 = l.uid != 0 ? RUNNER_SPAWNED_UID : 0;
    if (watch_fd(c, c->out) < 0 || watch_fd(c, c->err) < 0 || watch_fd(c, c->pidfd) < 0)
        return fail_errno(err, errno, "run '%s': epoll", c->name);
    return 0;
}

/* Reads what is there. At its end the pipe leaves the set. */
static void drain(struct command *c, int fd, struct str *text)
{
    char buffer[8192];
    ssize_t n;

    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        str_add_mem(text, buffer, (size_t)n);
        if (fd == c->out && text->len > OUTPUT_MAX) {
            c->is_too_long = true;
            return;
        }
        if (fd == c->err && text->len > 2 * STDERR_MAX) {
            memmove(text->ptr, text->ptr + text->len - STDERR_MAX, STDERR_MAX);
            text->len = STDERR_MAX;
            text->ptr[text->len] = '\0';
        }
    }
    if (n == 0)
        (void)epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void take_events(struct command *c)
{
    struct epoll_event events[3];
    int n = epoll_wait(c->epoll_fd, events, ARRAY_LEN(events), 0);

    for (int i = 0; i < n; i++)
        if (events[i].data.fd == c->pidfd)
            c->has_ended = true;
    /* After the end once more: a grandchild may hold the pipes open, so their end is not waited for. */
    drain(c, c->out, &c->out_text);
    drain(c, c->err, &c->err_text);
}

static int command_wait(const struct act *a, struct command *c, int64_t limit_ms, struct runner_error *err)
{
    int64_t end = num_now_ms() + limit_ms;

    while (!c->has_ended) {
        int64_t left = limit_ms > 0 ? end - num_now_ms() : -1;
        int n = limit_ms > 0 && left <= 0 ? 0 : act_wait(a, c->epoll_fd, POLLIN, left);

        if (n < 0)
            return fail_errno(err, errno, "run '%s': killed", c->name);
        if (n == 0 && limit_ms > 0 && num_now_ms() >= end)
            return fail(err, RUNNER_E_TIMEOUT, 0, "run '%s': killed after %lld ms", c->name, (long long)limit_ms);
        take_events(c);
        if (c->is_too_long)
            return fail(err, RUNNER_E_INVALID, 0, "run '%s': more than %d bytes of output", c->name, OUTPUT_MAX);
    }
    return 0;
}

/* The last line that is not blank; cuts the text. */
static const char *last_line(struct str *s)
{
    const char *start;

    while (s->len > 0 && strchr(" \t\r\n", s->ptr[s->len - 1]) != NULL)
        s->ptr[--s->len] = '\0';
    if (s->len == 0)
        return NULL;
    start = memrchr(s->ptr, '\n', s->len);
    return start != NULL ? start + 1 : s->ptr;
}

static int command_fail(struct command *c, int status, struct runner_error *err)
{
    const char *line = last_line(&c->err_text);

    if (line == NULL)
        line = "it printed no error";
    if (status > 128)
        return fail(err, RUNNER_E_IO, 0, "run '%s': killed by signal %d: %s", c->name, status - 128, line);
    return fail(err, RUNNER_E_IO, 0, "run '%s': exit status %d: %s", c->name, status, line);
}

static int command_finish(const struct act *a, struct command *c, const struct runner_step *step,
                          struct runner_result *result, struct runner_error *err)
{
    if (command_start(a, c, step, result, err) < 0 || command_wait(a, c, step->number, err) < 0)
        return -1;
    result->status = wait_status(c);
    if (result->status != 0 && !(step->flags & RUNNER_S_ANY_STATUS))
        return command_fail(c, result->status, err);
    return act_output(result, str_text(&c->out_text), c->out_text.len, err);
}

int command_run(const struct act *a, const struct runner_step *step, struct runner_result *result,
                struct runner_error *err)
{
    struct command c = COMMAND_INIT;
    int r;

    c.name = step->argv[0];
    r = command_finish(a, &c, step, result, err);
    command_done(&c);
    return r;
}
