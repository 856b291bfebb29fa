#include "guest/daemon/session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#include "core/util/num.h"
#include "guest/daemon/process.h"
#include "guest/daemon/words.h"

#define SESSIONS_MAX 100
#define COMMANDS_MAX 10000
#define ID_MAX       256

static struct {
    struct event_base *base;
    struct session *first;
} self;

static void start_next(struct session *s);

/* ---- the shell ---- */

static void close_shell(struct session *s)
{
    if (s->readable != NULL)
        event_free(s->readable);
    if (s->script >= 0)
        close(s->script);
    if (s->report >= 0)
        close(s->report);
    s->readable = NULL;
    s->script = s->report = -1;
    str_clear(&s->line);
}

static void end_running(struct session *s, int code)
{
    struct command *c = s->running;

    s->running = NULL;
    if (c != NULL)
        command_finish(c, code);
}

/* "ID CODE": the running command has ended. Anything else was written by a command that found the descriptor: ignored.
 */
static void take_report(struct session *s, char *line)
{
    char *blank = strchr(line, ' ');
    int64_t code;

    if (blank == NULL)
        return;
    *blank = '\0';
    if (s->running != NULL && strcmp(line, s->running->id) == 0 && num_int(blank + 1, 0, 255, &code))
        end_running(s, (int)code);
}

static void read_reports(struct session *s)
{
    char buffer[512];
    char *end;
    ssize_t n = s->report < 0 ? -1 : read(s->report, buffer, sizeof buffer);

    if (n == 0) { /* the shell gave its descriptor 3 away: nobody would hear of its commands */
        (void)event_del(s->readable);
        process_kill(s->shell, SIGKILL);
    }
    if (n <= 0)
        return;
    str_add_mem(&s->line, buffer, (size_t)n);
    while (s->line.len > 0 && (end = memchr(s->line.ptr, '\n', s->line.len)) != NULL) {
        auto_free char *line = mem_dup_n(s->line.ptr, (size_t)(end - s->line.ptr));
        size_t rest = s->line.len - (size_t)(end + 1 - s->line.ptr);
        memmove(s->line.ptr, end + 1, rest);
        s->line.len = rest;
        take_report(s, line);
    }
    if (s->line.len > ID_MAX + 16)
        str_clear(&s->line);
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    read_reports(s);
    start_next(s);
}

/* The shell ended, by `exit` or a signal: with it the command that ran. The next one gets a fresh shell. */
static void on_shell_exit(void *arg, int code)
{
    struct session *s = arg;

    s->shell = NULL;
    read_reports(s);
    end_running(s, code);
    close_shell(s);
    start_next(s);
}

static int open_pipes(int script[2], int report[2], struct runner_error *err)
{
    if (pipe2(script, O_CLOEXEC) < 0)
        return fail_errno(err, errno, "pipe");
    if (pipe2(report, O_CLOEXEC) < 0) {
        (void)fail_errno(err, errno, "pipe");
        close(script[0]);
        close(script[1]);
        return -1;
    }
    (void)fcntl(script[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(report[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int start_shell(struct session *s, struct runner_error *err)
{
    const char *argv[] = {process_shell(), NULL};
    int script[2], report[2];
    int status;

    if (open_pipes(script, report, err) < 0)
        return -1;
    status = process_start(&(struct process_spec){.argv = argv, .fds = {script[0], -1, -1, report[1]}}, on_shell_exit,
                           s, &s->shell, err);
    close(script[0]);
    close(report[1]);
    s->script = script[1];
    s->report = report[0];
    if (status < 0) {
        close_shell(s);
        return -1;
    }
    s->readable = event_new(self.base, s->report, EV_READ | EV_PERSIST, on_report, s);
    (void)event_add(s->readable, NULL);
    return 0;
}

/* Where no shell is, the command itself stands in its place: its end is that of both. */
static int start_words(struct session *s, struct command *c, struct runner_error *err)
{
    static const char *const endings[] = {".in", ".out", ".err"};
    static const int flags[] = {O_RDONLY, O_WRONLY, O_WRONLY};
    auto_str struct str unused = STR_INIT;
    auto_argv char **argv = NULL;
    struct process_spec spec = {.fds = {-1, -1, -1, -1}};
    int status = words_split(c->text, &argv, err);

    if (status < 0 || command_prepare(c, s->dir, &unused, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(endings) && status == 0; i++) {
        auto_free char *path = mem_printf("%s%s", c->stem, endings[i]);

        spec.fds[i] = open(path, flags[i] | O_CLOEXEC); /* we have each open for both ways */
        status = spec.fds[i] < 0 ? fail_errno(err, errno, "open '%s'", path) : 0;
    }
    spec.argv = (const char *const *)argv;
    if (status == 0)
        status = process_start(&spec, on_shell_exit, s, &s->shell, err);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (spec.fds[i] >= 0)
            close(spec.fds[i]);
    if (status == 0)
        s->running = c;
    return status;
}

static int start_command(struct session *s, struct command *c, struct runner_error *err)
{
    auto_str struct str line = STR_INIT;

    if (s->shell == NULL && words_are_needed())
        return start_words(s, c, err);
    if (s->shell == NULL && start_shell(s, err) < 0)
        return -1;
    if (command_prepare(c, s->dir, &line, err) < 0)
        return -1;
    /* The shell has read all before it reported, so the pipe is empty and takes the line as a whole. */
    if (write(s->script, line.ptr, line.len) != (ssize_t)line.len)
        return fail_errno(err, errno, "give the command to the shell");
    s->running = c;
    return 0;
}

static void start_next(struct session *s)
{
    for (struct command *c = s->commands; c != NULL && s->running == NULL; c = c->next) {
        struct runner_error err = ERROR_INIT;
        if (c->state != COMMAND_QUEUED || start_command(s, c, &err) == 0)
            continue;
        log_add(c->log, LOG_STDERR, err.message, strlen(err.message));
        command_finish(c, 126);
    }
}

/* ---- sessions and commands ---- */

struct session *session_first(void)
{
    return self.first;
}

struct session *session_find(const char *id)
{
    for (struct session *s = self.first; s != NULL; s = s->next)
        if (strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

/* No quote may get into the path: it stands in single quotes in what the shell reads. */
static int make_dir(char **ret, struct runner_error *err)
{
    const char *base = getenv("TMPDIR");
    auto_free char *path =
        mem_printf("%s/runner-session.XXXXXX", base == NULL || strchr(base, '\'') != NULL ? "/tmp" : base);

    if (mkdtemp(path) == NULL)
        return fail_errno(err, errno, "make '%s'", path);
    *ret = path;
    path = NULL;
    return 0;
}

static int check_id(const char *id, struct runner_error *err)
{
    size_t n = 0;

    if (*id == '\0' || strlen(id) > ID_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "sessionId is not a text of 1 to %d bytes", ID_MAX);
    if (session_find(id) != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "session '%s' exists", id);
    for (const struct session *s = self.first; s != NULL; s = s->next)
        n++;
    return n < SESSIONS_MAX ? 0 : fail(err, RUNNER_E_BUSY, 0, "there are %d sessions already", SESSIONS_MAX);
}

int session_add(const char *id, struct runner_error *err)
{
    struct session **at = &self.first;
    struct session *s;
    char *dir = NULL;

    if (check_id(id, err) < 0 || make_dir(&dir, err) < 0)
        return -1;
    s = mem_alloc(sizeof *s);
    *s = (struct session){.id = mem_dup(id), .dir = dir, .script = -1, .report = -1};
    while (*at != NULL)
        at = &(*at)->next;
    *at = s;
    return 0;
}

static void session_free(struct session *s)
{
    struct command *next;

    process_kill(s->shell, SIGKILL);
    process_forget(s->shell);
    close_shell(s);
    for (struct command *c = s->commands; c != NULL; c = next) {
        next = c->next;
        if (c->on_end != NULL && c->state != COMMAND_ENDED)
            command_finish(c, 128 + SIGKILL);
        command_free(c);
    }
    (void)rmdir(s->dir);
    str_done(&s->line);
    free(s->dir);
    free(s->id);
    free(s);
}

void session_remove(struct session *s)
{
    for (struct session **at = &self.first; *at != NULL; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    session_free(s);
}

struct command *session_find_command(const struct session *s, const char *id)
{
    for (struct command *c = s->commands; c != NULL; c = c->next)
        if (strcmp(c->id, id) == 0)
            return c;
    return NULL;
}

/* A random UUID, version 4. */
static int make_id(char ret[37], struct runner_error *err)
{
    unsigned char b[16];
    size_t at = 0;

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return fail_errno(err, errno, "random bytes");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof b; i++) {
        static const char hex[] = "0123456789abcdef";
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret[at++] = '-';
        ret[at++] = hex[b[i] >> 4];
        ret[at++] = hex[b[i] & 15];
    }
    ret[at] = '\0';
    return 0;
}

int session_run(struct session *s, const char *id, const char *text, bool is_echo_off, struct command **ret,
                struct runner_error *err)
{
    struct command **at = &s->commands;
    struct command *c;
    char made[37];

    if (s->n_commands == COMMANDS_MAX)
        return fail(err, RUNNER_E_BUSY, 0, "session '%s' has had %d commands: delete it", s->id, COMMANDS_MAX);
    if (id == NULL && make_id(made, err) < 0)
        return -1;
    c = command_new(self.base, id == NULL ? made : id, text, err);
    if (c == NULL)
        return -1;
    c->is_echo_off = is_echo_off;
    while (*at != NULL)
        at = &(*at)->next;
    *at = c;
    s->n_commands++;
    start_next(s);
    *ret = c;
    return 0;
}

/* ---- the sandbox's own program ---- */

static void add_quoted(struct str *out, const char *word)
{
    str_add(out, out->len > 0 ? " '" : "'");
    for (; *word != '\0'; word++)
        if (*word == '\'')
            str_add(out, "'\\''");
        else
            str_add_char(out, *word);
    str_add_char(out, '\'');
}

void session_init(struct event_base *base, const struct json *entrypoint)
{
    auto_str struct str line = STR_INIT;
    struct runner_error err = ERROR_INIT;
    struct command *c;

    self.base = base;
    if (entrypoint == NULL)
        return;
    for (const struct json *word = entrypoint->first; word != NULL; word = word->next)
        add_quoted(&line, word->text);
    if (session_add(SESSION_ENTRYPOINT, &err) < 0 ||
        session_run(session_find(SESSION_ENTRYPOINT), SESSION_ENTRYPOINT_COMMAND, str_text(&line), true, &c, &err) < 0)
        (void)fprintf(stderr, "runner-guestd: entrypoint: %s\n", err.message);
}

void session_done(void)
{
    while (self.first != NULL)
        session_remove(self.first);
}
