/* POST /process/execute: one command line, its output and exit code. */
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>

#include "guest/daemon/process.h"
#include "guest/daemon/routes.h"
#include "guest/daemon/words.h"

#define OUTPUT_MAX      (8 * 1024 * 1024)
#define TIMEOUT_DEFAULT 10 /* seconds; the toolbox API's */
#define TIMEOUT_MAX     (30 * 24 * 3600)

struct run {
    struct exchange *x;
    struct process *process;
    struct event_base *base;
    struct event *readable, *timer;
    int fd; /* read end of the output */
    struct str output;
    bool is_cut, is_timed_out;
};

static void run_free(struct run *r)
{
    if (r->readable != NULL)
        event_free(r->readable);
    if (r->timer != NULL)
        event_free(r->timer);
    if (r->fd >= 0)
        process_drain(r->base, r->fd);
    process_forget(r->process);
    str_done(&r->output);
    free(r);
}

/* The client is gone, or has its answer. */
static void on_done(struct exchange *x)
{
    struct run *r = x->state;

    process_kill(r->process, SIGKILL);
    run_free(r);
}

static void collect(struct run *r)
{
    char buffer[16384];
    ssize_t n = -1;

    /* At most what a pipe holds by default and some more: a flood must not keep the loop from others. */
    for (int i = 0; i < 16 && (n = read(r->fd, buffer, sizeof buffer)) > 0; i++) {
        size_t room = OUTPUT_MAX - r->output.len;
        str_add_mem(&r->output, buffer, (size_t)n < room ? (size_t)n : room);
        r->is_cut = r->is_cut || (size_t)n > room;
    }
    if (n == 0) {
        event_free(r->readable);
        r->readable = NULL;
        close(r->fd);
        r->fd = -1;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    collect(arg);
}

static void on_exit_code(void *arg, int code)
{
    struct run *r = arg;
    auto_str struct str json = STR_INIT;

    r->process = NULL;
    if (r->fd >= 0)
        collect(r);
    if (r->is_timed_out) {
        reply_error(r->x, 408, "REQUEST_TIMEOUT", "request timeout: command execution timeout");
        return;
    }
    if (r->is_cut)
        str_addf(&r->output, "\n[output cut at %d bytes]\n", OUTPUT_MAX);
    json_open(&json, NULL, '{');
    json_add_int(&json, "exitCode", code);
    routes_add_output(&json, "result", r->output.ptr, r->output.len);
    json_close(&json, '}');
    reply_json(r->x, 200, &json);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct run *r = arg;

    (void)fd;
    (void)what;
    r->is_timed_out = true;
    process_kill(r->process, SIGKILL);
}

static int check(const struct json *body, struct runner_error *err)
{
    const struct json *timeout = json_get(body, "timeout");
    const struct json *env = json_get(body, "envs");

    if (json_text(body, "command", "")[0] == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "command is required: a text that is not empty");
    if (timeout != NULL && timeout->type != JSON_NULL &&
        (timeout->type != JSON_INT || timeout->number < 0 || timeout->number > TIMEOUT_MAX))
        return fail(err, RUNNER_E_INVALID, 0, "timeout is not a number of seconds from 0 (none) to %d", TIMEOUT_MAX);
    if (env != NULL && env->type != JSON_NULL && env->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "envs is not an object");
    return 0;
}

static int start(struct run *r, const struct json *body, struct runner_error *err)
{
    const char *command = json_text(body, "command", "");
    const char *argv[] = {process_shell(), "-c", command, NULL};
    auto_argv char **words = NULL;
    const char *cwd = json_text(body, "cwd", "");
    const struct json *env = json_get(body, "envs");
    int fds[2];
    int status;

    if (words_are_needed() && words_split(command, &words, err) < 0)
        return -1;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno(err, errno, "pipe");
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    r->fd = fds[0];
    status = process_start(&(struct process_spec){.argv = words != NULL ? (const char *const *)words : argv,
                                                  .cwd = *cwd == '\0' ? NULL : cwd,
                                                  .env = env != NULL && env->type == JSON_OBJECT ? env : NULL,
                                                  .fds = {-1, fds[1], fds[1], -1}},
                           on_exit_code, r, &r->process, err);
    close(fds[1]);
    return status;
}

void execute_post(struct exchange *x)
{
    struct runner_error err = ERROR_INIT;
    auto_json struct json *body = exchange_json(x);
    struct timeval limit;
    struct run *r;

    if (body == NULL)
        return;
    if (check(body, &err) < 0) {
        reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: %s", err.message);
        return;
    }
    r = mem_alloc(sizeof *r);
    *r = (struct run){.x = x, .fd = -1, .base = exchange_base(x)};
    if (start(r, body, &err) < 0) {
        run_free(r);
        reply_fail(x, &err);
        return;
    }
    x->state = r;
    x->on_done = on_done;
    r->readable = event_new(r->base, r->fd, EV_READ | EV_PERSIST, on_readable, r);
    (void)event_add(r->readable, NULL);
    limit = (struct timeval){json_int(body, "timeout", TIMEOUT_DEFAULT), 0};
    if (limit.tv_sec > 0) {
        r->timer = evtimer_new(r->base, on_timeout, r);
        (void)event_add(r->timer, &limit);
    }
}
