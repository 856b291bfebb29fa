/* transport/local, the built object, in a directory of its own: each step kind but the TAPs'. Speaks TAP. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "t/run/plugin-host.h"

static const struct runner_plugin *plugin;
static const struct runner_transport_ops *ops;
static void *self;
static char dir[64];
static struct runner_result result;
static struct runner_error err = ERROR_INIT;

/* ---- helpers --------------------------------------------------------------------------------------------------- */

static char **kept;
static size_t n_kept;

static char *keep(char *text) /* lives as long as the program */
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

static char *at(const char *name) /* a path in the directory */
{
    return keep(mem_printf("%s/%s", dir, name));
}

static int run_in(struct runner_call *call, struct runner_step step)
{
    const struct runner_step *one = &step;

    host_table()->release(result.out);
    memset(&result, 0, sizeof result);
    error_clear(&err);
    step.size = sizeof step;
    return ops->run(self, call, &one, 1, &result, &err);
}

static int run(struct runner_step step)
{
    return run_in(host_call(-1, -1), step);
}

#define RUN(...) run((struct runner_step){__VA_ARGS__})
#define ARGV(...)                                                                                                      \
    .argv = (const char *const[])                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static bool says(int code, const char *text)
{
    bool is_right = err.code == code && strstr(err.message, text) != NULL;

    if (!is_right)
        tap_note("code %s, message: %s", error_name(err.code), err.message);
    return is_right;
}

static size_t count_in(const char *path)
{
    auto_dir DIR *d = opendir(path);
    size_t n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    return n;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void check_tail(const char *f) /* which holds abcdef */
{
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 2, .flags = RUNNER_S_TAIL) == 0 && result.len == 2 &&
               memcmp(result.out, "ef", 3) == 0 && result.number == 6,
           "READ with TAIL: the last bytes of a larger file, and its size");
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 6, .flags = RUNNER_S_TAIL) == 0 && result.len == 6 &&
               memcmp(result.out, "abcdef", 7) == 0 && result.number == 6,
           "READ with TAIL: all of one as large as the limit");
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 0, .flags = RUNNER_S_TAIL) == 0 && result.len == 0 &&
               result.number == 6,
           "READ with TAIL: nothing of it");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5, .flags = RUNNER_S_OPTIONAL | RUNNER_S_TAIL) == 0 &&
               result.status == 1 && RUN(.kind = RUNNER_READ, .path = dir, .number = 5, .flags = RUNNER_S_TAIL) < 0 &&
               says(RUNNER_E_INVALID, "not a regular file"),
           "READ with TAIL: absent, and a directory");
    tap_ok(RUN(.kind = RUNNER_READ, .path = "/proc/sys/kernel/random/boot_id", .number = 8, .flags = RUNNER_S_TAIL) ==
                   0 &&
               result.len == 8,
           "READ with TAIL: never more than the limit, whatever size the file claims to have");
}

static void check_write_and_read(void)
{
    const char *f = at("w");

    umask(077);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abc", .len = 3, .number = 0644) == 0 && mode_of(f) == 0644,
           "WRITE: the mode is exact whatever the umask");
    umask(022);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abcdef", .len = 6, .number = 0600, .flags = RUNNER_S_SYNC) ==
                   0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 6) == 0 && result.len == 6 &&
               memcmp(result.out, "abcdef", 7) == 0,
           "WRITE replaces, READ reads, ended by NUL");
    check_tail(f);
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 5) < 0 && says(RUNNER_E_INVALID, "larger than 5 bytes"),
           "READ: over the limit");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "x", .len = 1, .flags = RUNNER_S_EXCL) < 0 &&
               says(RUNNER_E_EXISTS, f),
           "WRITE with EXCL: exists");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5) < 0 && says(RUNNER_E_NOTFOUND, at("none")),
           "READ: absent");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5, .flags = RUNNER_S_OPTIONAL) == 0 &&
               result.status == 1,
           "READ with OPTIONAL: absent");
    tap_ok(RUN(.kind = RUNNER_READ, .path = dir, .number = 5) < 0 && says(RUNNER_E_INVALID, "not a regular file"),
           "READ: a directory");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = at("no/such/f"), .number = 0600) < 0 &&
               says(RUNNER_E_NOTFOUND, at("no/such")),
           "WRITE: no directory");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = "relative") < 0 && says(RUNNER_E_INVALID, "not absolute"),
           "a relative path is refused");
    tap_ok(RUN(.kind = 999) < 0 && says(RUNNER_E_NOTSUP, "999"), "an unknown kind is refused");
}

/* Blocks of zeros are holes, wherever they are. */
static void check_holes(void)
{
    static const struct {
        size_t len, at[3]; /* at: the bytes that are not zero */
        blkcnt_t blocks_max;
    } cases[] = {{200000, {0, 1, 2}, 16},          {200000, {199999, 0, 199998}, 24}, {200000, {100000, 1, 1}, 24},
                 {200000, {4095, 4096, 9000}, 32}, {8192, {8191, 8191, 8191}, 16},    {131080, {0, 65543, 131079}, 32}};
    const char *f = at("holes");
    auto_free char *data = mem_array(200000, 1);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stat st = {0};

        memset(data, 0, 200000);
        for (size_t k = 0; k < 3; k++)
            data[cases[i].at[k]] = (char)(k + 1);
        tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = data, .len = cases[i].len, .number = 0600) == 0 &&
                   stat(f, &st) == 0 && st.st_blocks <= cases[i].blocks_max &&
                   RUN(.kind = RUNNER_READ, .path = f, .number = 200000) == 0 && result.len == cases[i].len &&
                   memcmp(result.out, data, cases[i].len) == 0,
               "WRITE: %zu bytes, most of them zero", cases[i].len);
    }
    memset(data, 0, 200000);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = data, .len = 200000, .number = 0600) == 0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 200000) == 0 && result.len == 200000 &&
               memcmp(result.out, data, 200000) == 0,
           "WRITE: nothing but zeros");
}

static void check_patch(void)
{
    const char *f = at("patched");

    tap_ok(RUN(.kind = RUNNER_PATCH, .path = f, .data = "x", .len = 1) < 0 && says(RUNNER_E_NOTFOUND, f) &&
               !is_there(f),
           "PATCH: absent");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abcdef", .len = 6, .number = 0640) == 0 &&
               RUN(.kind = RUNNER_PATCH, .path = f, .data = "XY", .len = 2, .number = 1) == 0 &&
               RUN(.kind = RUNNER_PATCH, .path = f, .data = "Z", .len = 1, .number = 8, .flags = RUNNER_S_SYNC) == 0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 9) == 0 && result.len == 9 &&
               memcmp(result.out, "aXYdef\0\0Z", 9) == 0 && mode_of(f) == 0640,
           "PATCH: in place, and beyond the end");
    tap_ok(RUN(.kind = RUNNER_PATCH, .path = f, .data = "x", .len = 1, .number = -1) < 0 &&
               says(RUNNER_E_INVALID, "offset -1"),
           "PATCH: a negative offset");
    tap_ok(symlink(f, at("link")) == 0 && RUN(.kind = RUNNER_PATCH, .path = at("link"), .data = "x", .len = 1) < 0 &&
               unlink(at("link")) == 0,
           "PATCH: a link is not followed");
}

static void check_mkdir_and_list(void)
{
    const char *d = at("m/a/b");

    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700) < 0 && says(RUNNER_E_NOTFOUND, d), "MKDIR: no parent");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 02770, .flags = RUNNER_S_PARENTS) == 0 && mode_of(d) == 02770,
           "MKDIR with PARENTS: exact mode");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700) == 0 && mode_of(d) == 02770, "MKDIR: there already");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700, .flags = RUNNER_S_EXCL) < 0 && says(RUNNER_E_EXISTS, d),
           "MKDIR with EXCL: exists");
    (void)RUN(.kind = RUNNER_WRITE, .path = at("m/a/z"), .number = 0600);
    (void)RUN(.kind = RUNNER_WRITE, .path = at("m/a/c"), .number = 0600);
    tap_ok(RUN(.kind = RUNNER_LIST, .path = at("m/a")) == 0 && result.len == 6 &&
               memcmp(result.out, "b\0c\0z\0", 6) == 0,
           "LIST: sorted, each ended by NUL");
    tap_ok(RUN(.kind = RUNNER_LIST, .path = at("none")) < 0 && says(RUNNER_E_NOTFOUND, at("none")), "LIST: absent");
    tap_ok(RUN(.kind = RUNNER_STAT, .path = at("none/x")) == 0 && result.status == 1, "STAT: absent");
    tap_ok(RUN(.kind = RUNNER_STAT, .path = at("w")) == 0 && result.status == 0 && result.number == 6 &&
               result.number2 > 1000000000,
           "STAT: size and time");
    tap_ok(RUN(.kind = RUNNER_STATFS, .path = dir) == 0 && result.number > 0 && result.number2 >= result.number,
           "STATFS");
}

static void check_rename_and_grow(void)
{
    struct stat st;

    (void)RUN(.kind = RUNNER_WRITE, .path = at("r1"), .data = "1", .len = 1, .number = 0600);
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r1"), .to = at("r2"), .flags = RUNNER_S_SYNC) == 0 &&
               !is_there(at("r1")) && is_there(at("r2")),
           "RENAME");
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r1"), .to = at("r2")) < 0 && says(RUNNER_E_NOTFOUND, at("r1")),
           "RENAME: absent");
    tap_ok(RUN(.kind = RUNNER_GROW, .path = at("g"), .number = 1 << 30) == 0 && stat(at("g"), &st) == 0 &&
               st.st_size == 1 << 30 && st.st_blocks == 0 && mode_of(at("g")) == 0600,
           "GROW makes a sparse file");
    tap_ok(RUN(.kind = RUNNER_GROW, .path = at("g"), .number = 5) < 0 && says(RUNNER_E_INVALID, "1073741824") &&
               stat(at("g"), &st) == 0 && st.st_size == 1 << 30,
           "GROW never shrinks");
}

static void check_clone(void)
{
    const char *from = at("sparse"), *to = at("copy");
    int fd = open(from, O_RDWR | O_CREAT, 0600);
    struct stat a, b;
    char tail[4] = "";

    if (pwrite(fd, "head", 4, 0) != 4 || pwrite(fd, "tail", 4, 64 << 20) != 4 || ftruncate(fd, 200 << 20) < 0)
        tap_note("cannot make the sparse file");
    close(fd);
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = from, .to = to, .number = 0640) == 0 && mode_of(to) == 0640, "CLONE");
    fd = open(to, O_RDONLY);
    tap_ok(stat(from, &a) == 0 && stat(to, &b) == 0 && a.st_size == b.st_size && b.st_blocks <= a.st_blocks + 64 &&
               pread(fd, tail, 4, 64 << 20) == 4 && memcmp(tail, "tail", 4) == 0,
           "CLONE: same size and data, holes kept");
    close(fd);
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = from, .to = to, .number = 0640) < 0 && says(RUNNER_E_EXISTS, to),
           "CLONE: exists");
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = at("none"), .to = at("copy2"), .number = 0640) < 0 &&
               says(RUNNER_E_NOTFOUND, at("none")) && !is_there(at("copy2")),
           "CLONE: absent");
}

static void check_remove(void)
{
    char *deep = mem_dup(at("deep"));
    bool is_kept = true;
    size_t before;

    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("r2")) == 0 && !is_there(at("r2")), "REMOVE: a file");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("r2")) == 0 && RUN(.kind = RUNNER_REMOVE, .path = at("no/such")) == 0,
           "REMOVE: absent is fine");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("m")) < 0 && says(RUNNER_E_INVALID, "directory") &&
               is_there(at("m/a/z")),
           "REMOVE without TREE: not a directory");
    if (mkdir(at("out"), 0700) < 0 || mkdir(at("out/x"), 0700) < 0 || symlink(at("out"), at("m/link")) < 0 ||
        symlink(at("out"), at("toplink")) < 0)
        tap_note("cannot make links");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("m"), .flags = RUNNER_S_TREE) == 0 && !is_there(at("m")) &&
               is_there(at("out/x")),
           "REMOVE: a tree, its links not followed");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("toplink"), .flags = RUNNER_S_TREE) == 0 && !is_there(at("toplink")) &&
               is_there(at("out/x")),
           "REMOVE: a link is removed itself");
    for (int i = 0; i < 70; i++) {
        char *next = mem_printf("%s/d", deep);
        (void)mkdir(deep, 0700);
        free(deep);
        deep = next;
    }
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("deep"), .flags = RUNNER_S_TREE) < 0 &&
               says(RUNNER_E_INVALID, "deeper"),
           "REMOVE: bounded depth");
    for (const char *name = "abcefg"; *name != '\0'; name++)
        (void)mkdir(keep(mem_printf("%s/%c", at("deep"), *name)), 0700);
    for (const char *name = "abcefg"; *name != '\0';
         name++) { /* in whatever order they are listed, each can be the last */
        char last[2] = {*name, '\0'};
        is_kept = is_kept && RUN(.kind = RUNNER_REMOVE, .path = at("deep"), .to = last, .flags = RUNNER_S_TREE) < 0 &&
                  is_there(keep(mem_printf("%s/%c", at("deep"), *name)));
        for (const char *again = "abcefg"; *again != '\0'; again++)
            (void)mkdir(keep(mem_printf("%s/%c", at("deep"), *again)), 0700);
    }
    tap_ok(is_kept, "REMOVE: what goes last is there as long as anything else is");
    tap_ok(rename(at("deep/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d"), at("deeper")) == 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = at("deep"), .to = "g", .flags = RUNNER_S_TREE) == 0 &&
               !is_there(at("deep")),
           "REMOVE: in the end it goes too");
    before = count_in("/");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = "/", .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = "/tmp/..", .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = at("."), .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = "/nonexistent-top", .flags = RUNNER_S_TREE) == 0 &&
               count_in("/") == before,
           "REMOVE: '/', '.' and '..' are refused");
    free(deep);
}

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

/* ---- processes -------------------------------------------------------------------------------------------------- */

static void check_run(void)
{
    size_t big_len = 3 << 20;
    char *big = mem_alloc(big_len);
    int64_t start;
    int pair[2];

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
               says(RUNNER_E_TIMEOUT, "50 ms") && num_now_ms() - start < 5000,
           "RUN: time limit");
    tap_ok(run_in(host_call(50, -1), (struct runner_step){.kind = RUNNER_RUN, ARGV("sleep", "30")}) < 0 &&
               err.code == RUNNER_E_TIMEOUT && num_now_ms() - start < 5000,
           "RUN: deadline of the operation");
    if (pipe(pair) == 0 && fork() == 0) { /* the cancel comes while the program runs */
        poll(NULL, 0, 50);
        _exit(write(pair[1], "x", 1) == 1 ? 0 : 1);
    }
    tap_ok(run_in(host_call(-1, pair[0]), (struct runner_step){.kind = RUNNER_RUN, ARGV("sleep", "30")}) < 0 &&
               err.code == RUNNER_E_CANCELLED && num_now_ms() - start < 5000,
           "RUN: cancel");
    close(pair[0]);
    close(pair[1]);
    while (wait(NULL) > 0)
        ;
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("/bin/sh", "-c", "sleep 30 & echo done")) == 0 &&
               strcmp(result.out, "done\n") == 0 && num_now_ms() - start < 5000,
           "RUN: a process left behind does not hold it up");
    setenv("API_TOKEN_OF_OURS", "secret", 1);
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("env")) == 0 && strstr(result.out, "secret") == NULL &&
               strstr(result.out, "PATH=") != NULL,
           "RUN: nothing of our environment");
    free(big);
}

static bool has_text(const char *path, const char *text)
{
    return RUN(.kind = RUNNER_READ, .path = path, .number = 1 << 20) == 0 && strstr(result.out, text) != NULL;
}

/* Waits for what a watch descriptor tells. */
static bool has_ended(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, 10000) == 1;
}

static int watch(const char *pid_path)
{
    int fd = -1;

    error_clear(&err);
    (void)ops->watch(self, host_call(-1, -1), pid_path, &fd, &err);
    return fd;
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
    fd = -1;
    tap_ok(ops->dial(self, host_call(2000, -1), keep(mem_printf("unix:%s", sock)), &fd, &err) == 0 &&
               (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0,
           "SPAWN listens for it before it runs; dial");
    cleanup_close(&fd);
    for (int i = 0; i < 200 && !has_text(out, "/w\n"); i++)
        poll(NULL, 0, 10);
    tap_ok(has_text(out, "started\nabcdef321\n") && has_text(at("p.append"), "appended\n"),
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
    tap_ok(run(step) == 0 && result.number != pid, "SPAWN: again, over a stale socket and pid file");
    pid = result.number;
    tap_ok(RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL) == 0 && kill((pid_t)pid, 0) < 0,
           "KILL by SIGKILL ends when the process has, reaped");
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
           "ALIVE, KILL: a number without its lock is nobody");
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
           "KILL: a reused process number is left alone");
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(fd);
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

static void check_ids(void)
{
    struct runner_spawn how = {
        .size = sizeof how, .pid_path = at("i.pid"), .output_path = at("i.log"), .uid = 65534, .gid = 65534};

    if (geteuid() != 0) {
        tap_ok(true, "SPAWN as another user # SKIP needs root");
        return;
    }
    (void)RUN(.kind = RUNNER_SPAWN, ARGV("/bin/sh", "-c", "id -u; id -g; id -G"), .spawn = &how);
    for (int i = 0; i < 200 && !has_text(at("i.log"), "65534\n65534\n65534\n"); i++)
        poll(NULL, 0, 10);
    tap_ok(has_text(at("i.log"), "65534\n65534\n65534\n") && geteuid() == 0, "SPAWN as another user, its groups too");
}

/* ---- dial ------------------------------------------------------------------------------------------------------- */

static void check_dial(void)
{
    static const char *const bad[] = {
        "",        "tcp:",          "tcp:127.0.0.1",      "tcp:127.0.0.1:0", "tcp:host:80",
        "udp:1:2", "unix:relative", "tcp:127.0.0.1:70000"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = -1;
    char *address, *long_dir = keep(mem_dup(dir));
    struct runner_call *call = host_call(5000, -1);

    if (bind(listener, (struct sockaddr *)&in, sizeof in) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&in, &len) < 0)
        tap_note("cannot listen");
    address = keep(mem_printf("tcp:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) == 0 && fd >= 0, "dial: %s", address);
    cleanup_close(&fd);
    close(listener);
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address) && err.retry == 1,
           "dial: refused");
    address = keep(mem_printf("unix:%s", at("none.sock")));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address),
           "dial: no such socket");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        tap_ok(ops->dial(self, call, bad[i], &fd, &err) < 0 && err.code == RUNNER_E_INVALID,
               "dial: '%s' is refused: %s", bad[i], err.message);
    while (strlen(long_dir) < 150)
        long_dir = keep(mem_printf("%s/a-long-directory-name", long_dir));
    (void)RUN(.kind = RUNNER_MKDIR, .path = long_dir, .number = 0700, .flags = RUNNER_S_PARENTS);
    {
        struct runner_fd listen_fd = {RUNNER_FD_LISTEN, 3, keep(mem_printf("%s/s", long_dir))};
        struct runner_spawn how = {.size = sizeof how, .pid_path = at("l.pid"), .n_fds = 1, .fds = &listen_fd};

        tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) == 0 &&
                   ops->dial(self, host_call(2000, -1), keep(mem_printf("unix:%s", listen_fd.path)), &fd, &err) == 0,
               "listen and dial at a path of %zu bytes", strlen(listen_fd.path));
        cleanup_close(&fd);
        (void)RUN(.kind = RUNNER_KILL, .path = at("l.pid"), .number = SIGKILL);
    }
}

/* ---- many threads ------------------------------------------------------------------------------------------------ */

#define THREADS 6
#define ROUNDS  25

struct worker {
    pthread_t thread;
    struct runner_call *call;
    char pid_path[128];
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

/* Each starts, sees and ends processes of its own, again and again under one pid file, while the others do the same. */
static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct runner_spawn how = {.size = sizeof how, .pid_path = w->pid_path};

    for (int i = 0; i < ROUNDS; i++) {
        worker_do(w, (struct runner_step){.kind = RUNNER_SPAWN, ARGV("/bin/sleep", "60"), .spawn = &how}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_ALIVE, .path = w->pid_path}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_RUN, ARGV("/bin/true")}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_KILL, .path = w->pid_path, .number = SIGKILL}, 0);
        worker_do(w, (struct runner_step){.kind = RUNNER_ALIVE, .path = w->pid_path}, 1);
    }
    return NULL;
}

static void check_threads(void)
{
    struct worker workers[THREADS] = {0};
    struct runner_call *call = host_call(-1, -1);
    int n_failed = 0;

    for (int i = 0; i < THREADS; i++) {
        workers[i].call = call;
        (void)snprintf(workers[i].pid_path, sizeof workers[i].pid_path, "%s/thread-%d.pid", dir, i);
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

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    size_t before;

    (void)snprintf(dir, sizeof dir, "%s/check-transport.XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! no temporary directory\n");
        return 1;
    }
    plugin = host_load("transport/local");
    ops = plugin->ops;
    before = count_in("/proc/self/fd");
    self = host_create(plugin, NULL);
    check_write_and_read();
    check_holes();
    check_patch();
    check_mkdir_and_list();
    check_rename_and_grow();
    check_clone();
    check_remove();
    check_undo();
    check_run();
    check_spawn();
    check_spawn_failures();
    check_reused_pid();
    check_adopted();
    check_ids();
    check_dial();
    check_threads();
    note_times();
    host_table()->release(result.out);
    plugin->destroy(self);
    plugin->destroy(NULL);
    tap_ok(host_live() == 0, "no memory of the host is left");
    tap_ok(count_in("/proc/self/fd") == before, "no descriptor is left at the end");
    free_kept();
    return tap_done();
}
