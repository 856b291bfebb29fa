#include "guest/daemon/worker.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "guest/daemon/process.h"

#define RESULT_MAX (64 * 1024 * 1024)

struct worker {
    struct exchange *x;
    struct process *process;
    struct event *readable;
    int fd;
    int status;
    struct str result; /* a byte that is 1 for success, then JSON; or 0, then the struct runner_error */
};

static bool write_all(int fd, const void *data, size_t len)
{
    for (const char *at = data; len > 0;) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static _Noreturn void child(int fd, worker_fn *fn, const void *arg)
{
    struct runner_error err = ERROR_INIT;
    struct str out = STR_INIT;
    char is_good;

    (void)signal(SIGTERM, SIG_DFL);
    /* Other clients' connections must end when the server closes them, not when this child ends. */
    fd = dup2(fd, STDERR_FILENO + 1);
    (void)close_range((unsigned)fd + 1, UINT_MAX, 0);
    is_good = fn(arg, &out, &err) == 0;
    if (write_all(fd, &is_good, 1))
        (void)(is_good ? write_all(fd, str_text(&out), out.len) : write_all(fd, &err, sizeof err));
    _exit(0);
}

static void on_done(struct exchange *x)
{
    struct worker *w = x->state;

    process_kill(w->process, SIGKILL);
    process_forget(w->process);
    event_free(w->readable);
    close(w->fd);
    str_done(&w->result);
    free(w);
}

static void answer(struct worker *w)
{
    struct runner_error err = ERROR_INIT;
    struct str json = {w->result.ptr + 1, w->result.len - 1, w->result.cap};

    if (w->result.len >= 1 && w->result.ptr[0] == 1 && json.len == 0) {
        reply_empty(w->x, w->status);
    } else if (w->result.len >= 1 && w->result.ptr[0] == 1) {
        reply_json(w->x, w->status, &json);
    } else {
        (void)fail(&err, RUNNER_E_IO, 0, "the file worker died");
        if (w->result.len == 1 + sizeof err)
            memcpy(&err, w->result.ptr + 1, sizeof err);
        reply_fail(w->x, &err);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    char buffer[65536];
    ssize_t n = read(fd, buffer, sizeof buffer);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && w->result.len < RESULT_MAX) {
        str_add_mem(&w->result, buffer, (size_t)n);
        return;
    }
    (void)event_del(w->readable);
    if (n > 0)
        reply_error(w->x, 400, "BAD_REQUEST", "bad request: the result is larger than %d bytes", RESULT_MAX);
    else
        answer(w);
}

static void on_exit_code(void *arg, int code)
{
    (void)code; /* the end of the pipe says it all */
    ((struct worker *)arg)->process = NULL;
}

void worker_run(struct exchange *x, int status, worker_fn *fn, const void *arg)
{
    struct worker *w;
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        reply_error(x, 500, "INTERNAL_SERVER_ERROR", "pipe: %s", strerror(errno));
        return;
    }
    pid = fork();
    if (pid < 0) {
        reply_error(x, 500, "INTERNAL_SERVER_ERROR", "fork: %s", strerror(errno));
        close(fds[0]);
        close(fds[1]);
        return;
    }
    if (pid == 0) {
        child(fds[1], fn, arg);
    }
    close(fds[1]);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    w = mem_alloc(sizeof *w);
    *w = (struct worker){.x = x, .fd = fds[0], .status = status};
    w->process = process_watch(pid, on_exit_code, w);
    w->readable = event_new(exchange_base(x), w->fd, EV_READ | EV_PERSIST, on_readable, w);
    (void)event_add(w->readable, NULL);
    x->state = w;
    x->on_done = on_done;
}
