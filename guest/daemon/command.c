#include "guest/daemon/command.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const endings[] = {".out", ".err"};

struct command *command_new(struct event_base *base, const char *id, const char *text, struct runner_error *err)
{
    struct command *c = mem_alloc(sizeof *c);

    c->log = log_new(err);
    if (c->log == NULL) {
        free(c);
        return NULL;
    }
    c->base = base;
    c->id = mem_dup(id);
    c->text = mem_dup(text);
    c->input = -1;
    c->pending = evbuffer_new();
    for (int i = 0; i < 2; i++)
        c->pipes[i] = (struct command_pipe){c, i == 0 ? LOG_STDOUT : LOG_STDERR, -1, NULL};
    return c;
}

static void close_pipe(struct command_pipe *p)
{
    if (p->readable != NULL)
        event_free(p->readable);
    if (p->fd >= 0)
        close(p->fd);
    p->readable = NULL;
    p->fd = -1;
}

static void close_input(struct command *c)
{
    if (c->writable != NULL)
        event_free(c->writable);
    if (c->input >= 0)
        close(c->input);
    c->writable = NULL;
    c->input = -1;
}

static void remove_files(struct command *c)
{
    static const char *const all[] = {".out", ".err", ".in", ".sh"};

    for (size_t i = 0; c->stem != NULL && i < ARRAY_LEN(all); i++) {
        auto_free char *path = mem_printf("%s%s", c->stem, all[i]);
        (void)unlink(path);
    }
}

void command_free(struct command *c)
{
    if (c == NULL)
        return;
    remove_files(c);
    for (int i = 0; i < 2; i++)
        close_pipe(&c->pipes[i]);
    close_input(c);
    if (!log_is_ended(c->log))
        log_end(c->log);
    log_unref(c->log);
    evbuffer_free(c->pending);
    free(c->stem);
    free(c->id);
    free(c->text);
    free(c);
}

/* ---- output ---- */

/* False at the end of the output; at most about what a pipe holds, so that a flood does not keep the loop. */
static bool collect(struct command_pipe *p)
{
    char buffer[16384];
    ssize_t n = -1;

    for (int i = 0; i < 8 && (n = read(p->fd, buffer, sizeof buffer)) > 0; i++)
        log_add(p->command->log, p->stream, buffer, (size_t)n);
    return n != 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct command_pipe *p = arg;

    (void)fd;
    (void)what;
    if (!collect(p))
        close_pipe(p);
}

static int watch(struct command_pipe *p)
{
    p->readable = event_new(p->command->base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
    return p->readable == NULL ? -1 : event_add(p->readable, NULL);
}

/* Opened for both ways the pipe has no end of file before the shell opens it. */
static int open_output(struct command_pipe *p, const char *path, struct runner_error *err)
{
    if (mkfifo(path, 0600) < 0)
        return fail_errno(err, errno, "make '%s'", path);
    p->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (p->fd < 0 || watch(p) < 0)
        return fail_errno(err, errno, "open '%s'", path);
    return 0;
}

/* Now only the writers count: a process that was left in the background goes on writing into the log, and the last one
 * that ends closes it. */
static void keep_for_leftovers(struct command_pipe *p, const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (p->fd >= 0)
        (void)collect(p);
    close_pipe(p);
    p->fd = fd;
    if (p->fd < 0 || !collect(p) || watch(p) < 0)
        close_pipe(p);
}

/* ---- input ---- */

static void flush_input(struct command *c)
{
    int written = 1;

    while (c->input >= 0 && evbuffer_get_length(c->pending) > 0 && written > 0)
        written = evbuffer_write(c->pending, c->input);
    if (evbuffer_get_length(c->pending) > 0 && c->writable != NULL)
        (void)event_add(c->writable, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush_input(arg);
}

static int open_input(struct command *c, const char *path, struct runner_error *err)
{
    if (mkfifo(path, 0600) < 0)
        return fail_errno(err, errno, "make '%s'", path);
    c->input = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (c->input < 0)
        return fail_errno(err, errno, "open '%s'", path);
    c->writable = event_new(c->base, c->input, EV_WRITE, on_writable, c);
    flush_input(c);
    return 0;
}

int command_input(struct command *c, const char *data, size_t len, struct runner_error *err)
{
    if (c->state == COMMAND_ENDED)
        return fail(err, RUNNER_E_NOTFOUND, 0, "command '%s' has ended", c->id);
    if (evbuffer_get_length(c->pending) + len > COMMAND_INPUT_MAX)
        return fail(err, RUNNER_E_BUSY, 0, "%d bytes of input wait already", COMMAND_INPUT_MAX);
    (void)evbuffer_add(c->pending, data, len);
    if (!c->is_echo_off)
        log_add(c->log, LOG_STDOUT, data, len);
    flush_input(c);
    return 0;
}

/* ---- life ---- */

static int write_script(const char *path, const char *text, struct runner_error *err)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t len = strlen(text);

    if (fd < 0 || write(fd, text, len) != (ssize_t)len || write(fd, "\n", 1) != 1)
        return fail_errno(err, errno, "write '%s'", path);
    return 0;
}

int command_prepare(struct command *c, const char *dir, struct str *ret_line, struct runner_error *err)
{
    auto_free char *script = NULL;
    auto_free char *input = NULL;

    c->stem = mem_printf("%s/%s", dir, c->id);
    script = mem_printf("%s.sh", c->stem);
    input = mem_printf("%s.in", c->stem);
    if (write_script(script, c->text, err) < 0 || open_input(c, input, err) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        auto_free char *path = mem_printf("%s%s", c->stem, endings[i]);
        if (open_output(&c->pipes[i], path, err) < 0)
            return -1;
    }
    /* `command` keeps a syntax error from ending the shell. The stem holds no quote: session.c makes it. */
    str_addf(ret_line, "command . '%s' <'%s' >'%s.out' 2>'%s.err' 3>&-; echo \"%s $?\" >&3\n", script, input, c->stem,
             c->stem, c->id);
    c->state = COMMAND_RUNNING;
    return 0;
}

void command_finish(struct command *c, int exit_code)
{
    void (*on_end)(struct command *, void *) = c->on_end;

    for (int i = 0; i < 2 && c->stem != NULL; i++) {
        auto_free char *path = mem_printf("%s%s", c->stem, endings[i]);
        keep_for_leftovers(&c->pipes[i], path);
    }
    remove_files(c);
    close_input(c);
    c->state = COMMAND_ENDED;
    c->exit_code = exit_code;
    c->on_end = NULL;
    log_end(c->log);
    if (on_end != NULL)
        on_end(c, c->arg);
}
