/* Of check-transport: WAIT. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LATER_MS 30        /* the step is waiting by then; earlier is right too, but tests less */
#define SOON_MS  PROMPT_MS /* an event that is missed would take as long as the operation may */

static void write_file(const char *path, const char *text, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        _exit(1);
    close(fd);
}

/* What another process does to the file while the step waits for it. */
static void append(const char *path)
{
    write_file(path, "more", O_APPEND);
}

static void append_twice(const char *path)
{
    write_file(path, "1", O_APPEND);
    poll(NULL, 0, LATER_MS);
    write_file(path, "234567", O_APPEND);
}

static void move_in(const char *path) /* of another name, so the file itself is never written to */
{
    const char *other = at("grow/moved");

    write_file(other, "0123456789", O_TRUNC);
    (void)rename(other, path);
}

static void replace(const char *path) /* and let the new one grow */
{
    const char *other = at("grow/moved");

    write_file(other, "", O_TRUNC);
    (void)rename(other, path);
    poll(NULL, 0, LATER_MS);
    append_twice(path);
}

static void remove_directory(const char *path)
{
    (void)unlink(path);
    (void)rmdir(at("grow"));
}

static pid_t later(void (*what)(const char *path), const char *path)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    poll(NULL, 0, LATER_MS);
    what(path);
    _exit(0);
}

static int wait_for(const char *path, int64_t bytes, const char *pid_path)
{
    return run_in(host_call(SOON_MS, -1),
                  (struct runner_step){.kind = RUNNER_WAIT, .path = path, .number = bytes, .to = pid_path});
}

static void check_growth(void)
{
    static const struct {
        const char *name;
        void (*what)(const char *path);
        int64_t bytes, size;
    } cases[] = {{"a file that appears", append, 0, 4},
                 {"growth", append_twice, 8, 11},
                 {"another file gets the name", move_in, 5, 10},
                 {"another file gets the name, and grows", replace, 5, 7}};
    const char *f = at("grow/serial");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        pid_t pid;

        if (i >= 2)
            (void)RUN(.kind = RUNNER_WRITE, .path = f, .number = 0600);
        pid = later(cases[i].what, f);
        tap_ok(wait_for(f, cases[i].bytes, NULL) == 0 && result.status == 0 && result.number == cases[i].size,
               "WAIT: %s", cases[i].name);
        waitpid(pid, NULL, 0);
        if (i == 1)
            tap_ok(wait_for(f, 10, NULL) == 0 && result.number == 11, "WAIT: large enough already");
    }
}

static void check_end_of_process(void)
{
    const char *f = at("grow/p"), *pid_path = at("grow/p.pid");
    struct runner_fd fd = {RUNNER_FD_APPEND, 3, f};
    struct runner_spawn how = {.size = sizeof how, .pid_path = pid_path, .n_fds = 1, .fds = &fd};
    struct runner_step step = {.kind = RUNNER_SPAWN, .spawn = &how};

    step.argv = (const char *const[]){"/bin/sh", "-c", "echo hello >&3; exec sleep 60", NULL};
    tap_ok(run(step) == 0 && wait_for(f, 5, pid_path) == 0 && result.status == 0 && result.number == 6,
           "WAIT: what a process writes");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    tap_ok(wait_for(f, 6, pid_path) == 0 && result.status == 1, "WAIT: a process that has ended before");
    tap_ok(wait_for(f, 5, pid_path) == 0 && result.status == 0, "WAIT: but it had written enough");
    tap_ok(wait_for(f, 6, at("grow/never.pid")) == 0 && result.status == 1, "WAIT: a process that never was");
    step.argv = (const char *const[]){"/bin/sh", "-c", "sleep 0.05; kill -9 $$", NULL};
    tap_ok(run(step) == 0 && wait_for(f, 6, pid_path) == 0 && result.status == 1 &&
               RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 1 &&
               WTERMSIG((int)result.number2) == SIGKILL,
           "WAIT: the process ends meanwhile, and its wait status is kept");
    step.argv = (const char *const[]){"/bin/sh", "-c", "sleep 0.05; echo last >&3", NULL};
    tap_ok(run(step) == 0 && wait_for(f, 10, pid_path) == 0 && result.status == 0 && result.number == 11,
           "WAIT: its last words count though it has ended");
    (void)await_ended(pid_path); /* and its descriptor is let go */
}

static void check_interrupted(void)
{
    const char *f = at("grow/none");
    int64_t start = num_now_ms();
    int pair[2];

    tap_ok(run_in(host_call(LATER_MS, -1), (struct runner_step){.kind = RUNNER_WAIT, .path = f}) < 0 &&
               says(RUNNER_E_TIMEOUT, f) && num_now_ms() - start >= LATER_MS,
           "WAIT: the operation's deadline: %s", err.message);
    if (pipe(pair) == 0 && fork() == 0) {
        poll(NULL, 0, LATER_MS);
        _exit(write(pair[1], "x", 1) == 1 ? 0 : 1);
    }
    tap_ok(run_in(host_call(SOON_MS, pair[0]), (struct runner_step){.kind = RUNNER_WAIT, .path = f}) < 0 &&
               says(RUNNER_E_CANCELLED, f) && num_now_ms() - start < SOON_MS,
           "WAIT: cancel");
    close(pair[0]);
    close(pair[1]);
    while (wait(NULL) > 0)
        ;
}

void check_wait(void)
{
    const char *f = at("grow/f");
    size_t before = count_in("/proc/self/fd");

    (void)RUN(.kind = RUNNER_MKDIR, .path = at("grow"), .number = 0700);
    check_growth();
    check_end_of_process();
    check_interrupted();
    tap_ok(wait_for(at("none/f"), 0, NULL) < 0 && says(RUNNER_E_NOTFOUND, at("none")), "WAIT: no directory");
    tap_ok(wait_for(f, -1, NULL) < 0 && says(RUNNER_E_INVALID, "-1 bytes") && wait_for(f, 0, "p.pid") < 0 &&
               says(RUNNER_E_INVALID, "'p.pid' is not absolute"),
           "WAIT: bad values");
    tap_ok(symlink("/etc/passwd", f) == 0 && wait_for(f, 0, NULL) < 0 && says(RUNNER_E_INVALID, "regular file") &&
               unlink(f) == 0,
           "WAIT: a link is not followed");
    (void)RUN(.kind = RUNNER_REMOVE, .path = at("grow"), .flags = RUNNER_S_TREE);
    (void)RUN(.kind = RUNNER_MKDIR, .path = at("grow"), .number = 0700);
    (void)later(remove_directory, f);
    tap_ok(wait_for(f, 0, NULL) < 0 && says(RUNNER_E_NOTFOUND, "directory is gone"), "WAIT: the directory goes");
    while (wait(NULL) > 0)
        ;
    tap_ok(count_in("/proc/self/fd") == before + 1, "WAIT: no descriptor is left but the one that is kept");
}
