/*
 * subreaper SECONDS LEFT PROGRAM [ARG...]: runs a test program and exits as it does, with 124 when it had not ended in
 * time. What it leaves running, daemons too, is this program's child then: named in the file LEFT, and killed. So it
 * is, unnamed, after a signal that asks this program to end.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define GRACE_MS     10000 /* for what was told to end, on the slowest machine */
#define LIMIT_STATUS 124

static struct {
    pid_t program;
    int status, signal;       /* of the program; which asked this one to end */
    bool has_ended, is_alone; /* alone: no process is left */
    sigset_t signals;
} run;

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == run.program) {
            run.status = status;
            run.has_ended = true;
        }
    run.is_alone = pid < 0 && errno == ECHILD;
}

/* Until *what, or the time is over, or the first signal that asks for the end. */
static bool await(const bool *what, int64_t ms)
{
    int64_t until_ms = num_now_ms() + ms;
    bool was_asked = run.signal != 0;

    for (reap(); !*what && (run.signal == 0 || was_asked); reap()) {
        int64_t left_ms = until_ms - num_now_ms();
        struct timespec wait = {.tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * 1000000};
        int number = left_ms > 0 ? sigtimedwait(&run.signals, NULL, &wait) : 0;

        if (left_ms <= 0)
            return false;
        if (number > 0 && number != SIGCHLD)
            run.signal = number;
    }
    return *what;
}

/* ---- what is left ------------------------------------------------------------------------------------------------ */

static pid_t parent_of(pid_t pid)
{
    auto_free char *path = mem_printf("/proc/%d/stat", (int)pid);
    auto_fclose FILE *file = fopen(path, "re");
    char line[1024] = "", *end;

    if (file == NULL || fgets(line, sizeof line, file) == NULL || (end = strrchr(line, ')')) == NULL)
        return -1;
    return (pid_t)strtol(end + 1 + strcspn(end + 1, "0123456789"), NULL, 10);
}

static void name(pid_t pid, FILE *to)
{
    auto_free char *path = mem_printf("/proc/%d/cmdline", (int)pid);
    auto_fclose FILE *file = fopen(path, "re");
    char words[200];
    size_t n = file != NULL ? fread(words, 1, sizeof words, file) : 0;

    (void)fprintf(to, "%d ", (int)pid);
    for (size_t i = 0; i < n; i++)
        (void)fputc(isprint((unsigned char)words[i]) ? words[i] : ' ', to);
    (void)fputc('\n', to);
}

/* Each child of this process: named in the file, if there is one, and killed. */
static void kill_children(FILE *to)
{
    auto_dir DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid <= 0 || parent_of(pid) != getpid())
            continue;
        if (to != NULL)
            name(pid, to);
        (void)kill(pid, SIGKILL);
    }
}

/* A child that was killed leaves its own to us. */
static void kill_all(const char *left)
{
    int64_t until_ms = num_now_ms() + GRACE_MS;
    auto_fclose FILE *to = fopen(left, "we");

    for (kill_children(run.signal == 0 ? to : NULL); !await(&run.is_alone, 20) && num_now_ms() < until_ms;)
        kill_children(NULL);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static void start(char **argv)
{
    sigset_t before;

    (void)sigemptyset(&run.signals);
    (void)sigaddset(&run.signals, SIGCHLD);
    (void)sigaddset(&run.signals, SIGHUP);
    (void)sigaddset(&run.signals, SIGINT);
    (void)sigaddset(&run.signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &run.signals, &before);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    run.program = fork();
    if (run.program == 0) {
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        (void)execvp(argv[0], argv);
        (void)fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
}

static int exit_status(bool is_in_time)
{
    if (run.signal != 0)
        return 128 + run.signal;
    if (!is_in_time)
        return LIMIT_STATUS;
    return WIFEXITED(run.status) ? WEXITSTATUS(run.status) : 128 + WTERMSIG(run.status);
}

int main(int argc, char **argv)
{
    int64_t seconds;
    bool is_in_time;

    if (argc < 4 || !num_int(argv[1], 1, 86400, &seconds)) {
        (void)fputs("usage: subreaper SECONDS LEFT PROGRAM [ARG...]\n", stderr);
        return 99;
    }
    start(argv + 3);
    if (run.program < 0)
        return 99;
    is_in_time = await(&run.has_ended, seconds * 1000);
    if (!is_in_time) {
        (void)kill(run.program, SIGTERM);
        (void)await(&run.has_ended, GRACE_MS);
    }
    if (!run.is_alone && (!is_in_time || !await(&run.is_alone, GRACE_MS)))
        kill_all(argv[2]);
    return exit_status(is_in_time);
}
