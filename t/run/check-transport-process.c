/* Of check-transport: programs and processes. */
#include "t/run/check-transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static void check_run(void)
{
    size_t big_len = 3 << 20;
    char *big = mem_alloc(big_len);
    int64_t start;
    int pair[2];
    pid_t left;

    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("cat"), .data = "in\0put", .len = 6) == 0 && result.len == 6 &&
               memcmp(result.out, "in\0put", 6) == 0 && result.status == 0,
           "RUN: standard input and output");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("cat", "/dev/stdin"), .data = "again", .len = 5) == 0 && result.len == 5,
           "RUN: /dev/stdin can be opened");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("/bin/sh", "-c", "echo one >&2; echo 'two three' >&2; exit 7")) < 0 &&
               says(RUNNER_E_IO, "exit status 7: two three"),
           "RUN: the last line of stderr is quoted");
    tap_ok(RUN(.kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, ARGV("/bin/sh", "-c", "kill -9 $$")) == 0 &&
               result.status == 137,
           "RUN with ANY_STATUS: 128 + signal");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("no-such-program-x")) < 0 && says(RUNNER_E_NOTFOUND, "no-such-program-x"),
           "RUN: not in PATH");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("/no/such/program")) < 0 && says(RUNNER_E_NOTFOUND, "/no/such/program"),
           "RUN: no such path");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("wc", "-c"), .data = big, .len = big_len) == 0 &&
               strcmp(result.out, "3145728\n") == 0,
           "RUN: large input does not block");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("yes")) < 0 && says(RUNNER_E_INVALID, "1048576 bytes"), "RUN: bounded output");
    start = num_now_ms();
    tap_ok(RUN(.kind = RUNNER_RUN, .number = 50, ARGV("/bin/sh", "-c", "sleep 30; true")) < 0 &&
               says(RUNNER_E_TIMEOUT, "50 ms") && num_now_ms() - start < PROMPT_MS,
           "RUN: time limit");
    tap_ok(run_in(host_call(50, -1), (struct runner_step){.kind = RUNNER_RUN, ARGV("sleep", "30")}) < 0 &&
               err.code == RUNNER_E_TIMEOUT && num_now_ms() - start < PROMPT_MS,
           "RUN: deadline of the operation");
    if (pipe(pair) == 0 && fork() == 0) { /* the cancel comes while the program runs */
        poll(NULL, 0, 50);
        _exit(write(pair[1], "x", 1) == 1 ? 0 : 1);
    }
    tap_ok(run_in(host_call(-1, pair[0]), (struct runner_step){.kind = RUNNER_RUN, ARGV("sleep", "30")}) < 0 &&
               err.code == RUNNER_E_CANCELLED && num_now_ms() - start < PROMPT_MS,
           "RUN: cancel");
    close(pair[0]);
    close(pair[1]);
    while (wait(NULL) > 0)
        ;
    left = RUN(.kind = RUNNER_RUN, ARGV("/bin/sh", "-c", "sleep 30 & echo $!")) == 0
               ? (pid_t)strtol(result.out, NULL, 10)
               : 0;
    tap_ok(left > 1 && kill(left, SIGKILL) == 0 && num_now_ms() - start < PROMPT_MS,
           "RUN: a process left behind does not hold it up");
    setenv("API_TOKEN_OF_OURS", "secret", 1);
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("env")) == 0 && strstr(result.out, "secret") == NULL &&
               strstr(result.out, "PATH=") != NULL,
           "RUN: nothing of our environment");
    free(big);
}

/* Some are ignored since before the plugin was loaded (main). */
static void check_signals(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("s.pid"), .output_path = at("s.log")};
    const char *none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    sigset_t blocked;

    (void)signal(SIGPIPE, SIG_IGN); /* as the runner does once it serves */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("cat", "/proc/self/status")) == 0 && strstr(result.out, none) != NULL,
           "RUN: no signal is blocked or ignored");
    tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("cat", "/proc/self/status"), .spawn = &how) == 0 &&
               await_ended(how.pid_path) && has_text(how.output_path, none),
           "SPAWN: no signal is blocked or ignored");
    pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

static bool is_for_reading(const char *fdinfo)
{
    FILE *file = fopen(fdinfo, "re");
    unsigned flags = O_ACCMODE;

    if (file == NULL)
        return false;
    if (fscanf(file, "pos: %*d flags: %o", &flags) != 1)
        flags = O_ACCMODE;
    (void)fclose(file);
    return (flags & O_ACCMODE) == O_RDONLY;
}

static void check_spawn(void)
{
    const char *pid_path = at("p.pid"), *out = at("p.log"), *sock = at("p.sock");
    /* More descriptors than the numbers in use here, in an order that would collide when placed one by one. */
    struct runner_fd fds[] = {{RUNNER_FD_LISTEN, 5, sock},
                              {RUNNER_FD_APPEND, 4, at("p.append")},
                              {RUNNER_FD_READ, 3, at("w")},
                              {RUNNER_FD_READWRITE, 9, at("w")},
                              {RUNNER_FD_READ, 7, "/dev/zero"}};
    struct runner_spawn how = {
        .size = sizeof how, .n_fds = 5, .fds = fds, .pid_path = pid_path, .output_path = out, .nofile = 321};
    const char *script = "echo started; cat <&3; echo appended >&4; ulimit -n; readlink /proc/$$/fd/9; exec sleep 60";
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("/bin/sh", "-c", script), .spawn = &how};
    int fd, watching;
    int64_t pid;

    tap_ok(run(step) == 0 && result.number > 1, "SPAWN");
    pid = result.number;
    tap_ok(run(step) < 0 && says(RUNNER_E_BUSY, pid_path), "SPAWN: a second one is refused");
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 0 && result.number == pid, "ALIVE");
    tap_ok(mode_of(pid_path) == 0600 && mode_of(out) == 0600 && mode_of(sock) == 0600, "SPAWN: files have mode 0600");
    tap_ok(getsid((pid_t)pid) == pid, "SPAWN: a session of its own");
    tap_ok(is_for_reading(keep(mem_printf("/proc/%lld/fdinfo/64", (long long)pid))),
           "SPAWN: it cannot change what its pid file says");
    fd = -1;
    tap_ok(ops->dial(self, host_call(PATIENCE_MS, -1), keep(mem_printf("unix:%s", sock)), &fd, &err) == 0 &&
               (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0,
           "SPAWN listens for it before it runs; dial");
    cleanup_close(&fd);
    tap_ok(await_text(out, "/w\n") && has_text(out, "started\nabcdef321\n") && has_text(at("p.append"), "appended\n"),
           "SPAWN: output, descriptors in their places, limit of open files");
    watching = watch(pid_path);
    tap_ok(watching >= 0, "watch");
    tap_ok(RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGTERM) == 0 && result.status == 0 &&
               has_ended(watching),
           "KILL, and the watch tells");
    close(watching);
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 1 && WIFSIGNALED((int)result.number2) &&
               WTERMSIG((int)result.number2) == SIGTERM,
           "ALIVE: ended, with its wait status");
    tap_ok(kill((pid_t)pid, 0) < 0 && errno == ESRCH, "no zombie is left");
    tap_ok(RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGTERM) == 0 && result.status == 1,
           "KILL: ended already");
    tap_ok(watch(pid_path) < 0 && says(RUNNER_E_NOTFOUND, pid_path), "watch: ended already");
    tap_ok(run(step) == 0 && result.number != pid, "d05: SPAWN: again, over a stale socket and pid file");
    pid = result.number;
    tap_ok(RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL) == 0 && kill((pid_t)pid, 0) < 0,
           "KILL by SIGKILL ends when the process has, reaped");
}

/* A directory that is new has what a process was given there. */
static void check_spawn_in_new(void)
{
    const char *fifo = at("born/fifo"), *pid_path = at("born/pid"), *out = at("born/log");
    const struct runner_fd fds[] = {{RUNNER_FD_FIFO, 3, fifo}};
    const struct runner_spawn how = {.size = sizeof how,
                                     .n_fds = 1,
                                     .fds = fds,
                                     .pid_path = pid_path,
                                     .output_path = out,
                                     .uid = 65534,
                                     .gid = 65534};
    const struct runner_step steps[] = {
        STEP(.kind = RUNNER_MKDIR, .flags = RUNNER_S_EXCL, .path = at("born"), .number = 0710),
        STEP(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how), STEP(.kind = RUNNER_REMOVE, .path = fifo),
        STEP(.kind = RUNNER_REMOVE, .path = out), STEP(.kind = RUNNER_ALIVE, .path = pid_path)};

    tap_ok(run_all(steps, ARRAY_LEN(steps)) == 0 && result.status == 0 && result.number > 1 && !is_there(fifo) &&
               !is_there(out),
           "SPAWN into a new directory: what it made there is there, and removed");
    tap_ok(run((struct runner_step){.kind = RUNNER_SPAWN, ARGV("true"), .spawn = &how}) < 0 &&
               says(RUNNER_E_BUSY, pid_path),
           "SPAWN into a new directory: the pid file is locked");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    (void)RUN(.kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = at("born"));
}

static void check_spawn_input(void)
{
    auto_free char *data = mem_alloc(60001);
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("i.pid"), .output_path = at("i.log")};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("wc", "-c"), .spawn = &how, .data = data};
    size_t before = count_in("/proc/self/fd");

    memset(data, 'x', 60001);
    step.len = 60000;
    tap_ok(run(step) == 0 && await_ended(how.pid_path) && has_text(at("i.log"), "60000\n"),
           "SPAWN: standard input, and its end");
    step.len = 60001;
    tap_ok(run(step) < 0 && says(RUNNER_E_INVALID, "at most 60000"), "SPAWN: more than it may be: %s", err.message);
    how.output_path = at("j.log");
    step.data = NULL;
    step.len = 0;
    tap_ok(run(step) == 0 && await_ended(how.pid_path) && has_text(at("j.log"), "0\n"), "SPAWN: no standard input: %s",
           err.message);
    tap_ok(count_in("/proc/self/fd") == before, "SPAWN: of processes that ended by themselves no descriptor is left");
}

static void check_spawn_failures(void)
{
    struct runner_fd listen_fd = {RUNNER_FD_LISTEN, 3, at("q.sock")}, twice[] = {listen_fd, listen_fd};
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("q.pid"), .n_fds = 1, .fds = &listen_fd};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("no-such-vmm"), .spawn = &how};
    size_t before = count_in("/proc/self/fd");

    tap_ok(run(step) < 0 && says(RUNNER_E_NOTFOUND, "'no-such-vmm' is not installed") && !is_there(at("q.pid")),
           "SPAWN: no such program");
    step.argv = (const char *const[]){dir, NULL};
    tap_ok(run(step) < 0 && says(RUNNER_E_IO, "execute") && !is_there(at("q.pid")) && !is_there(at("q.sock")),
           "SPAWN: exec fails: the cause, and nothing left: %s", err.message);
    how.n_fds = 2;
    how.fds = twice;
    tap_ok(run(step) < 0 && says(RUNNER_E_INVALID, "given twice"), "SPAWN: a number given twice");
    how.n_fds = 1;
    listen_fd.path = at("w");
    how.fds = &listen_fd;
    tap_ok(run(step) < 0 && says(RUNNER_E_EXISTS, at("w")) && is_there(at("w")),
           "SPAWN: a socket does not replace another file");
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("none")) == 0 && result.status == 1 && result.number2 == -1,
           "ALIVE: never was");
    (void)RUN(.kind = RUNNER_WRITE, .path = at("stale"), .data = "1\n", .len = 2, .number = 0600);
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("stale")) == 0 && result.status == 1 &&
               RUN(.kind = RUNNER_KILL, .path = at("stale"), .number = SIGKILL) == 0 && result.status == 1,
           "d05: ALIVE, KILL: a number without its lock is nobody");
    tap_ok(count_in("/proc/self/fd") == before, "no descriptor is left");
}

/* Steps behind a SPAWN are done while its process gets to its program. */
static void check_spawn_beside(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("b.pid")};
    struct runner_step killing = {.size = sizeof killing, .kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL};
    struct runner_step removal = {.size = sizeof removal, .kind = RUNNER_REMOVE, .path = at("beside")};
    struct runner_step spawn = {.size = sizeof spawn, .kind = RUNNER_SPAWN, ARGV(dir), .spawn = &how, .undo = &killing};
    struct runner_step write = {
        .size = sizeof write, .kind = RUNNER_WRITE, .path = removal.path, .number = 0600, .undo = &removal};
    const struct runner_step *steps[] = {&spawn, &write};
    struct runner_result results[2];
    size_t before = count_in("/proc/self/fd");

    error_clear(&err);
    tap_ok(ops->run(self, host_call(-1, -1), steps, 2, results, &err) < 0 && says(RUNNER_E_IO, "execute") &&
               !is_there(how.pid_path) && !is_there(write.path),
           "SPAWN: exec fails while the next step is done, which is undone: %s", err.message);
    spawn.argv = (const char *const[]){"sleep", "60", NULL};
    tap_ok(ops->run(self, host_call(-1, -1), steps, 2, results, &err) == 0 && results[0].number > 1 &&
               RUN(.kind = RUNNER_ALIVE, .path = how.pid_path) == 0 && result.number == results[0].number &&
               is_there(write.path),
           "SPAWN, and a step beside it");
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    write.path = at("none/beside");
    error_clear(&err);
    tap_ok(ops->run(self, host_call(-1, -1), steps, 2, results, &err) < 0 && says(RUNNER_E_NOTFOUND, write.path) &&
               results[0].number > 1 && RUN(.kind = RUNNER_ALIVE, .path = how.pid_path) == 0 && result.status == 1,
           "SPAWN: the next step fails while it is on its way: it is ended");
    tap_ok(count_in("/proc/self/fd") == before, "no descriptor is left");
}

/* The number in the pid file is another process's, while the lock is held by a third: neither may be signalled. */
static void check_reused_pid(void)
{
    int fd = open(at("reused"), O_RDWR | O_CREAT, 0600);
    char text[32];
    pid_t other = fork();

    if (other == 0)
        for (;;)
            pause();
    (void)snprintf(text, sizeof text, "%d\n", (int)other);
    if (flock(fd, LOCK_EX) < 0 || write(fd, text, strlen(text)) < 0)
        tap_note("cannot make the pid file");
    tap_ok(RUN(.kind = RUNNER_KILL, .path = at("reused"), .number = SIGKILL) == 0 && result.status == 1 &&
               waitpid(other, NULL, WNOHANG) == 0,
           "d22: KILL: a reused process number is left alone");
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(fd);
}

/* Another thread that starts a program has copies of the lock until that program runs, however long that takes. */
static void check_copied_lock(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("copied")};
    int fd = open(at("copied"), O_RDWR | O_CREAT, 0600);
    pid_t other;

    if (flock(fd, LOCK_EX) < 0)
        tap_note("cannot lock the pid file");
    other = fork();
    if (other == 0) {
        poll(NULL, 0, 500);
        _exit(0);
    }
    close(fd);
    tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) == 0,
           "SPAWN waits for copies of the lock to go: %s", err.message);
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    waitpid(other, NULL, 0);
}

/* A second instance stands for a runner that was started anew. */
static void check_adopted(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("a.pid")};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how};
    void *first = self, *second = host_create(plugin, NULL);
    int64_t pid;
    int fd;

    tap_ok(run(step) == 0, "SPAWN by the first runner");
    pid = result.number;
    self = second;
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("a.pid")) == 0 && result.status == 0 && result.number == pid,
           "ALIVE for the second");
    tap_ok(run(step) < 0 && says(RUNNER_E_BUSY, at("a.pid")), "SPAWN by the second is refused");
    fd = watch(at("a.pid"));
    tap_ok(RUN(.kind = RUNNER_KILL, .path = at("a.pid"), .number = SIGKILL) == 0 && has_ended(fd),
           "KILL by the second");
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("a.pid")) == 0 && result.status == 1, "ALIVE: ended");
    cleanup_close(&fd);
    plugin->destroy(second);
    self = first;
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("a.pid")) == 0 && result.status == 1 &&
               WTERMSIG((int)result.number2) == SIGKILL && kill((pid_t)pid, 0) < 0,
           "the first has the wait status and reaped it");
}

void check_processes(void)
{
    check_run();
    check_signals();
    check_spawn();
    check_spawn_in_new();
    check_spawn_input();
    check_spawn_failures();
    check_spawn_beside();
    check_reused_pid();
    check_copied_lock();
    check_adopted();
}

/* ---- many threads ------------------------------------------------------------------------------------------------ */

#define THREADS 6
#define ROUNDS  25

struct worker {
    pthread_t thread;
    struct runner_call *call;
    char pid_path[128], cgroup[16];
    int n_failed;
    char message[256];
};

static void worker_do(struct worker *w, struct runner_step step, int want_status)
{
    const struct runner_step *one = &step;
    struct runner_result r = {.size = sizeof r};
    struct runner_error e = ERROR_INIT;

    step.size = sizeof step;
    if (ops->run(self, w->call, &one, 1, &r, &e) < 0 || r.status != want_status) {
        w->n_failed++;
        (void)snprintf(w->message, sizeof w->message, "kind %u, status %d: %.200s", step.kind, r.status, e.message);
    }
    host_table()->release(r.out);
}

/* Each starts, sees and ends processes of its own, again and again under one pid file, while the others do the same;
 * each second one in a cgroup, where there are any. */
static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct runner_spawn how = {.size = sizeof how, .pid_path = w->pid_path};

    for (int i = 0; i < ROUNDS; i++) {
        how.cgroup = i % 2 == 0 ? NULL : w->cgroup;
        worker_do(w, (struct runner_step){.kind = RUNNER_SPAWN, ARGV("/bin/sleep", "60"), .spawn = &how}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_ALIVE, .path = w->pid_path}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_RUN, ARGV("/bin/true")}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_KILL, .path = w->pid_path, .number = SIGKILL}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_ALIVE, .path = w->pid_path}, 1);
        worker_do(w, (struct runner_step){.kind = RUNNER_CGROUP_DEL, .path = w->cgroup}, 0);
    }
    return NULL;
}

void check_threads(void)
{
    struct worker workers[THREADS] = {0};
    struct runner_call *call = host_call(-1, -1);
    int n_failed = 0;

    for (int i = 0; i < THREADS; i++) {
        workers[i].call = call;
        (void)snprintf(workers[i].pid_path, sizeof workers[i].pid_path, "%s/thread-%d.pid", dir, i);
        (void)snprintf(workers[i].cgroup, sizeof workers[i].cgroup, "thread-%d", i);
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            tap_note("no thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        n_failed += workers[i].n_failed;
        if (workers[i].n_failed > 0)
            tap_note("%s", workers[i].message);
    }
    tap_ok(n_failed == 0, "%d threads start and end %d processes each at once", THREADS, ROUNDS);
}
