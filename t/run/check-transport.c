/* transport/local, the built object, in a directory of its own: each step kind. Speaks TAP. */
#include "t/run/check-transport.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kit/fake/host.h"

const struct runner_plugin *plugin;
const struct runner_transport_ops *ops;
void *self;
char dir[64];
struct runner_result result;
struct runner_error err = ERROR_INIT;

/* ---- helpers --------------------------------------------------------------------------------------------------- */

static char **kept;
static size_t n_kept;

char *keep(char *text)
{
    kept = mem_grow(kept, n_kept + 1, sizeof *kept);
    return kept[n_kept++] = text;
}

static void free_kept(void)
{
    while (n_kept > 0)
        free(kept[--n_kept]);
    free(kept);
}

char *at(const char *name)
{
    return keep(mem_printf("%s/%s", dir, name));
}

int run_in(struct runner_call *call, struct runner_step step)
{
    const struct runner_step *one = &step;

    host_table()->release(result.out);
    memset(&result, 0, sizeof result);
    error_clear(&err);
    step.size = sizeof step;
    return ops->run(self, call, &one, 1, &result, &err);
}

int run(struct runner_step step)
{
    return run_in(host_call(-1, -1), step);
}

int run_all(const struct runner_step *steps, size_t n)
{
    const struct runner_step *list[STEPS_MAX];
    struct runner_result results[STEPS_MAX] = {0};
    int status;

    host_table()->release(result.out);
    error_clear(&err);
    for (size_t i = 0; i < n; i++)
        list[i] = &steps[i];
    status = ops->run(self, host_call(-1, -1), list, n, results, &err);
    for (size_t i = 0; i + 1 < n; i++)
        host_table()->release(results[i].out);
    result = results[n - 1];
    return status;
}

bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

unsigned mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

bool says(int code, const char *text)
{
    bool is_right = err.code == code && strstr(err.message, text) != NULL;

    if (!is_right)
        tap_note("code %s, message: %s", error_name(err.code), err.message);
    return is_right;
}

size_t count_in(const char *path)
{
    auto_dir DIR *d = opendir(path);
    size_t n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    return n;
}

bool await_count(const char *folder, size_t n)
{
    for (int64_t end = num_now_ms() + PATIENCE_MS; count_in(folder) != n; poll(NULL, 0, 20))
        if (num_now_ms() >= end)
            return false;
    return true;
}

bool has_text(const char *path, const char *text)
{
    return RUN(.kind = RUNNER_READ, .path = path, .number = 1 << 20) == 0 && strstr(result.out, text) != NULL;
}

bool await_text(const char *path, const char *text)
{
    int64_t end = num_now_ms() + PATIENCE_MS;

    while (!has_text(path, text)) {
        if (num_now_ms() >= end)
            return false;
        poll(NULL, 0, 10);
    }
    return true;
}

bool has_ended(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, PATIENCE_MS) == 1;
}

int watch(const char *pid_path)
{
    int fd = -1;

    error_clear(&err);
    (void)ops->watch(self, host_call(-1, -1), pid_path, &fd, &err);
    return fd;
}

bool await_ended(const char *pid_path)
{
    auto_close int fd = watch(pid_path);

    return (fd < 0 || has_ended(fd)) && RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 1;
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

static void check_undo(void)
{
    struct runner_step undo_a = {.size = sizeof undo_a, .kind = RUNNER_REMOVE, .path = at("u1")};
    struct runner_step undo_b = {.size = sizeof undo_b, .kind = RUNNER_WRITE, .path = at("none/x")};
    struct runner_step a = {.size = sizeof a, .kind = RUNNER_WRITE, .path = at("u1"), .number = 0600, .undo = &undo_a};
    struct runner_step b = {.size = sizeof b, .kind = RUNNER_WRITE, .path = at("u2"), .number = 0600, .undo = &undo_b};
    struct runner_step c = {.size = sizeof c, .kind = RUNNER_READ, .path = at("absent"), .number = 9};
    const struct runner_step *steps[] = {&a, &b, &c};
    struct runner_result results[3] = {0};

    error_clear(&err);
    tap_ok(ops->run(self, host_call(-1, -1), steps, 3, results, &err) < 0 && !is_there(at("u1")) && is_there(at("u2")),
           "a failed batch is undone");
    tap_ok(says(RUNNER_E_NOTFOUND, at("absent")) && says(RUNNER_E_NOTFOUND, "not undone: write '"),
           "what was not undone is named: %s", err.message);
}

/* The second step is there for the case that the first finds nothing. */
static void check_else(void)
{
    struct runner_step first = {.size = sizeof first, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .number = 9};
    struct runner_step second = {
        .size = sizeof second, .kind = RUNNER_WRITE, .flags = RUNNER_S_ELSE, .path = at("e2"), .number = 0600};
    const struct runner_step *steps[] = {&first, &second};
    struct runner_result results[2];

    (void)RUN(.kind = RUNNER_WRITE, .path = at("e1"), .number = 0600);
    first.path = at("e1");
    memset(results, 0xff, sizeof results); /* the transport's to fill */
    tap_ok(ops->run(self, host_call(-1, -1), steps, 2, results, &err) == 0 && !is_there(at("e2")) &&
               results[1].size == sizeof results[1] && results[1].status == 0 && results[1].out == NULL,
           "ELSE behind what found something is left out");
    host_table()->release(results[0].out);
    first.path = at("absent");
    tap_ok(ops->run(self, host_call(-1, -1), steps, 2, results, &err) == 0 && results[0].status == 1 &&
               is_there(at("e2")),
           "ELSE behind what found nothing is done");
}

/* ---- how long ---------------------------------------------------------------------------------------------------- */

static void note_times(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("t.pid")};
    int64_t spawn_us = 0, kill_us = 0, start;
    int n = 20;

    for (int i = 0; i < n; i++) {
        start = num_now_us();
        (void)RUN(.kind = RUNNER_SPAWN, ARGV("/bin/sleep", "60"), .spawn = &how);
        spawn_us += num_now_us() - start;
        start = num_now_us();
        (void)RUN(.kind = RUNNER_KILL, .path = at("t.pid"), .number = SIGKILL);
        kill_us += num_now_us() - start;
    }
    tap_note("SPAWN %lld us, KILL until gone %lld us (mean of %d)", (long long)spawn_us / n, (long long)kill_us / n, n);
    start = num_now_us();
    for (int i = 0; i < n; i++)
        (void)RUN(.kind = RUNNER_RUN, ARGV("/bin/true"));
    tap_note("RUN /bin/true %lld us", (long long)(num_now_us() - start) / n);
    start = num_now_us();
    for (int i = 0; i < n; i++)
        (void)RUN(.kind = RUNNER_WRITE, .path = at("t"), .data = "x", .len = 1, .number = 0600);
    tap_note("WRITE %lld us", (long long)(num_now_us() - start) / n);
}

/* As by who started the runner. One of them is libc's own, which its posix_spawn() has ignored in what it starts. */
static void ignore_signals(void)
{
    const int signals[] = {SIGHUP, SIGUSR1, __SIGRTMIN, SIGRTMAX};
    const struct { /* as the kernel has it */
        void (*handler)(int);
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } ignore = {.handler = SIG_IGN};

    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        (void)syscall(SYS_rt_sigaction, signals[i], &ignore, NULL, sizeof ignore.mask);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    size_t before;

    (void)snprintf(dir, sizeof dir, "%s/check-transport.XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! no temporary directory\n");
        return 1;
    }
    ignore_signals();
    plugin = host_load("transport/local");
    fake_host_root(dir); /* which keeps its cgroups apart from another run's */
    ops = plugin->ops;
    before = count_in("/proc/self/fd");
    self = host_create(plugin, NULL);
    check_files();
    check_own();
    check_wait();
    check_undo();
    check_else();
    check_processes();
    check_threads();
    check_adopt();
    check_confined();
    check_dial();
    check_fifo();
    note_times();
    check_taps();
    host_table()->release(result.out);
    plugin->destroy(self);
    plugin->destroy(NULL);
    tap_ok(host_live() == 0, "no memory of the host is left");
    tap_ok(count_in("/proc/self/fd") == before, "no descriptor is left at the end");
    free_kept();
    return tap_done();
}
