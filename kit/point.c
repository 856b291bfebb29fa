#include "kit/point.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"
#include "kit/fake/tap.h"
#include "kit/op.h"

enum { OUTPUT_MAX = 64 * 1024, FATAL_MAX = 64 };

/* ---- the list ---- */

void checklist_add_op(struct checklist *list, const struct op *op, const char *word, const char *title,
                      void (*run)(struct subject *s, const struct point *point), enum aspect aspect)
{
    list->points = mem_grow(list->points, list->n + 1, sizeof *list->points);
    list->points[list->n++] = (struct point){.id = op != NULL ? mem_printf("%s.%s", op->name, word) : mem_dup(word),
                                             .title = title,
                                             .run = run,
                                             .op = op,
                                             .aspect = aspect};
}

void checklist_add(struct checklist *list, const char *id, const char *title,
                   void (*run)(struct subject *s, const struct point *point))
{
    checklist_add_op(list, NULL, id, title, run, AS_IS);
}

void checklist_last_is_about(struct checklist *list, const struct op *op)
{
    list->points[list->n - 1].op = op;
}

void checklist_free(struct checklist *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->points[i].id);
    free(list->points);
    *list = (struct checklist){.n = 0};
}

/* ---- fatal ways ---- */

static struct {
    const struct op *op;
    enum aspect aspect;
} fatal[FATAL_MAX];
static size_t n_fatal;

bool point_is_fatal(const struct op *op, enum aspect aspect)
{
    for (size_t i = 0; i < n_fatal; i++)
        if (strcmp(fatal[i].op->name, op->name) == 0 && fatal[i].aspect == aspect)
            return true;
    return false;
}

static void remember_fatal(const struct point *point)
{
    if (point->op == NULL || n_fatal == FATAL_MAX)
        return;
    fatal[n_fatal].op = point->op;
    fatal[n_fatal++].aspect = point->aspect;
}

/* ---- the process ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void point_main(const struct point *point, const struct options *options, const struct plugin *plugin,
                       const char *dir, int out) __attribute__((noreturn));
static void point_main(const struct point *point, const struct options *options, const struct plugin *plugin,
                       const char *dir, int out)
{
    struct subject subject;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setpgid(0, 0);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(dir) < 0)
        _exit(99);
    close(null);
    close(out);
    signal(SIGPIPE, SIG_IGN); /* as the runner does */
    subject_begin(&subject, options, plugin, dir);
    point->run(&subject, point);
    end_point();
}

/* Reads what the process says until it has ended, or the limit passed: then it is killed. Its wait status, or -1. */
static int await(pid_t pid, int pidfd, int out, int64_t limit_ms, struct str *ret_text)
{
    int64_t end_ms = num_now_ms() + limit_ms;
    bool is_late = false, has_ended = false;
    int status = -1;

    while (!has_ended) {
        struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
        int64_t left = end_ms - num_now_ms();
        char buffer[4096];
        ssize_t n;

        is_late = is_late || left <= 0;
        if (is_late)
            kill(pid, SIGKILL);
        (void)poll(p, 2, is_late ? 1000 : (int)left);
        has_ended = p[1].revents != 0; /* before what it said last is read */
        while ((n = read(out, buffer, sizeof buffer)) > 0)
            if (ret_text->len < OUTPUT_MAX)
                str_add_mem(ret_text, buffer, (size_t)n);
        if (n == 0)
            out = -1;
    }
    kill(-pid, SIGKILL); /* what it left behind */
    (void)waitpid(pid, &status, 0);
    return is_late ? -1 : status;
}

static int run_apart(const struct point *point, const struct options *options, const struct plugin *plugin,
                     struct str *ret_text)
{
    auto_free char *dir = mem_printf("%s/rpc.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    auto_close int pidfd = -1;
    int pipes[2], status;
    pid_t pid;

    if (mkdtemp(dir) == NULL || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
        tap_bail_out("%s: %s", dir, strerror(errno));
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        tap_bail_out("fork: %s", strerror(errno));
    if (pid == 0) {
        (void)fcntl(pipes[1], F_SETFL, 0);
        close(pipes[0]);
        point_main(point, options, plugin, dir, pipes[1]);
    }
    close(pipes[1]);
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        tap_bail_out("pidfd_open: %s", strerror(errno));
    status = await(pid, pidfd, pipes[0], options->limit_ms, ret_text);
    close(pipes[0]);
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

/* ---- its line ---- */

static void show(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        tap_note("  %.*s", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void skipped(const struct point *point, char *text)
{
    char *last = text;

    text[strcspn(text, "\r")] = '\0';
    if (text[0] != '\0' && text[strlen(text) - 1] == '\n')
        text[strlen(text) - 1] = '\0';
    last = strrchr(text, '\n');
    tap_skip(last != NULL ? last + 1 : text, "%s: %s", point->id, point->title);
}

bool point_run(const struct point *point, const struct options *options, const struct plugin *plugin)
{
    struct str text = STR_INIT;
    auto_free char *said = NULL;
    bool is_ok;
    int status;

    if (point->op != NULL && point_is_fatal(point->op, point->aspect)) {
        tap_skip("it crashed or hung of this before", "%s: %s", point->id, point->title);
        return true;
    }
    status = run_apart(point, options, plugin, &text);
    said = str_steal(&text);
    is_ok = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == POINT_PASSED;

    if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == POINT_SKIPPED) {
        skipped(point, said);
        return true;
    }
    tap_ok(is_ok, "%s: %s", point->id, point->title);
    if (status == -1)
        tap_note("  still running after %lld ms", (long long)options->limit_ms);
    else if (WIFSIGNALED(status))
        tap_note("  killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else if (!is_ok && WEXITSTATUS(status) != POINT_FAILED)
        tap_note("  the process ended with exit status %d", WEXITSTATUS(status));
    if (status == -1 || WIFSIGNALED(status) || (!is_ok && WEXITSTATUS(status) != POINT_FAILED))
        remember_fatal(point);
    show(said);
    return is_ok;
}
