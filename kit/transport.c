/* Transports: steps on real files and processes, in the point's directory. */
#include "kit/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kit/general.h"

const struct runner_transport_ops *transport_of(const struct subject *s)
{
    return s->plugin->desc.ops;
}

/* ---- files of the point ---- */

void place_file(const char *name, const char *text)
{
    auto_close int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        stop_point("'%s': %m", name);
}

static void place_directory(const char *name)
{
    if (mkdir(name, 0700) < 0 && errno != EEXIST)
        stop_point("'%s': %m", name);
}

void place_nothing(const char *name)
{
    if (unlink(name) < 0 && errno != ENOENT && rmdir(name) < 0 && errno != ENOENT)
        stop_point("'%s': %m", name);
}

bool is_there(const char *name)
{
    struct stat st;

    return lstat(name, &st) == 0;
}

bool file_holds(const char *name, const char *text)
{
    auto_close int fd = open(name, O_RDONLY | O_CLOEXEC);
    char found[200];
    ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof found);

    return n == (ssize_t)strlen(text) && memcmp(found, text, (size_t)n) == 0;
}

/* ---- steps ---- */

char *at(const struct subject *s, const char *name)
{
    static char *kept[64];
    static size_t n; /* the texts of a batch live until later ones have been made */
    char *path = mem_printf("%s/%s", s->dir, name);

    free(kept[n]);
    kept[n] = path;
    n = (n + 1) % ARRAY_LEN(kept);
    return path;
}

/* Under the trial's fault; the result is the last step's, its out is released. Of a step that ran, size is set. */
void run_steps(struct subject *s, struct trial *t, const struct runner_step *steps, size_t n,
               struct runner_result *ret)
{
    const struct runner_step *list[8];
    struct runner_result results[8] = {{.size = 0}};

    for (size_t i = 0; i < n; i++)
        list[i] = &steps[i];
    TRY(t, transport_of(s)->run(s->self, fake_call(), list, n, results, &t->err));
    for (size_t i = 0; i < n; i++) {
        if (t->status == 0 && results[i].size == 0)
            flaw("the size of result %zu is not set", i + 1);
        if (t->status == 0 && results[i].out != NULL && results[i].out[results[i].len] != '\0')
            flaw("there is no NUL behind what result %zu says", i + 1);
        fake_host()->release(results[i].out);
    }
    *ret = results[n - 1];
}

static struct runner_result run_step(struct subject *s, struct trial *t, struct runner_step step)
{
    struct runner_result result;

    step.size = RUNNER_STEP_INIT;
    run_steps(s, t, &step, 1, &result);
    return result;
}

#define ARGV(...)                                                                                                      \
    .argv = (const char *const[])                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
#define STEP(...) (struct runner_step){RUNNER_STEP_INIT, __VA_ARGS__}
#define RUN(s, t, ...) run_step(s, t, (struct runner_step){.size = RUNNER_STEP_INIT, __VA_ARGS__})

/* An operation that is one step: what is there before, the step, and what has to hold then. */
#define STEP_OP(name, prepare, holds, ...)                                                                             \
    static void op_##name(struct subject *s, struct trial *t)                                                          \
    {                                                                                                                  \
        struct runner_result r;                                                                                        \
                                                                                                                       \
        prepare;                                                                                                       \
        r = RUN(s, t, __VA_ARGS__);                                                                                    \
        if (t->status == 0 && !(holds))                                                                                \
            flaw("it succeeds, and it does not hold: %s", #holds);                                                     \
        (void)r;                                                                                                       \
    }

STEP_OP(mkdir, place_nothing("d"), is_there("d"), .kind = RUNNER_MKDIR, .path = at(s, "d"), .number = 0700)
STEP_OP(write, place_nothing("f"), file_holds("f", "text"), .kind = RUNNER_WRITE, .path = at(s, "f"), .data = "text",
        .len = 4, .number = 0600)
STEP_OP(patch, place_file("f", "abcdef"), file_holds("f", "abXXef"), .kind = RUNNER_PATCH, .path = at(s, "f"),
        .data = "XX", .len = 2, .number = 2)
STEP_OP(read, place_file("f", "text"), r.len == 4, .kind = RUNNER_READ, .path = at(s, "f"), .number = 100)
STEP_OP(read_optional, place_nothing("f"), r.status == 1, .kind = RUNNER_READ, .path = at(s, "f"), .number = 100,
        .flags = RUNNER_S_OPTIONAL)
STEP_OP(clone, (place_file("f", "text"), place_nothing("g")), file_holds("g", "text"), .kind = RUNNER_CLONE,
        .path = at(s, "f"), .to = at(s, "g"), .number = 0600)
STEP_OP(grow, place_nothing("f"), is_there("f"), .kind = RUNNER_GROW, .path = at(s, "f"), .number = 8192)
STEP_OP(rename, (place_file("f", "text"), place_nothing("g")), file_holds("g", "text") && !is_there("f"),
        .kind = RUNNER_RENAME, .path = at(s, "f"), .to = at(s, "g"))
STEP_OP(remove, place_file("f", "text"), !is_there("f"), .kind = RUNNER_REMOVE, .path = at(s, "f"))
STEP_OP(remove_absent, place_nothing("f"), !is_there("f"), .kind = RUNNER_REMOVE, .path = at(s, "f"))
STEP_OP(remove_empty, place_directory("empty"), !is_there("empty"), .kind = RUNNER_REMOVE, .flags = RUNNER_S_EXCL,
        .path = at(s, "empty"))
STEP_OP(remove_full, place_file("f", "text"), r.status == 1 && is_there("f"), .kind = RUNNER_REMOVE,
        .flags = RUNNER_S_EXCL, .path = s->dir)
STEP_OP(stat, place_file("f", "text"), r.status == 0 && r.number == 4, .kind = RUNNER_STAT, .path = at(s, "f"))
STEP_OP(stat_absent, place_nothing("f"), r.status == 1, .kind = RUNNER_STAT, .path = at(s, "f"))
STEP_OP(list, place_file("f", "text"), r.len > 0, .kind = RUNNER_LIST, .path = s->dir)
STEP_OP(statfs, (void)0, r.number2 >= r.number && r.number2 > 0, .kind = RUNNER_STATFS, .path = s->dir)
STEP_OP(program, (void)0, r.status == 0 && r.len == 3, .kind = RUNNER_RUN, ARGV("cat"), .data = "abc", .len = 3,
        .number = 10000)
STEP_OP(any_status, (void)0, r.status == 1, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, ARGV("false"),
        .number = 10000)
STEP_OP(own, place_file("f", "text"), is_there("f"), .kind = RUNNER_OWN, .path = at(s, "f"), .number = 0640,
        .uid = geteuid(), .gid = getegid())
STEP_OP(write_owned, place_nothing("f"), file_holds("f", "text"), .kind = RUNNER_WRITE, .flags = RUNNER_S_OWNED,
        .path = at(s, "f"), .data = "text", .len = 4, .number = 0600, .uid = geteuid(), .gid = getegid())
STEP_OP(mkdir_owned, (void)0, is_there("made"), .kind = RUNNER_MKDIR, .flags = RUNNER_S_OWNED, .path = at(s, "made"),
        .number = 0700, .uid = geteuid(), .gid = getegid())
STEP_OP(kill_absent, place_nothing("pid"), r.status == 1, .kind = RUNNER_KILL, .path = at(s, "pid"), .number = SIGKILL)
STEP_OP(alive_absent, place_nothing("pid"), r.status == 1, .kind = RUNNER_ALIVE, .path = at(s, "pid"))

/* Refusals. */
STEP_OP(read_no_file, place_nothing("f"), false, .kind = RUNNER_READ, .path = at(s, "f"), .number = 100)
STEP_OP(read_large, place_file("f", "text"), false, .kind = RUNNER_READ, .path = at(s, "f"), .number = 3)
STEP_OP(write_excl, place_file("f", "text"), false, .kind = RUNNER_WRITE, .flags = RUNNER_S_EXCL, .path = at(s, "f"),
        .data = "new", .len = 3, .number = 0600)
STEP_OP(mkdir_excl, (void)0, false, .kind = RUNNER_MKDIR, .flags = RUNNER_S_EXCL, .path = s->dir, .number = 0700)
STEP_OP(clone_over, (place_file("f", "a"), place_file("g", "b")), false, .kind = RUNNER_CLONE, .path = at(s, "f"),
        .to = at(s, "g"), .number = 0600)
STEP_OP(grow_less, place_file("f", "text"), false, .kind = RUNNER_GROW, .path = at(s, "f"), .number = 2)
STEP_OP(patch_no_file, place_nothing("f"), false, .kind = RUNNER_PATCH, .path = at(s, "f"), .data = "x", .len = 1)
STEP_OP(rename_no_file, place_nothing("f"), false, .kind = RUNNER_RENAME, .path = at(s, "f"), .to = at(s, "g"))
STEP_OP(relative, (void)0, false, .kind = RUNNER_WRITE, .path = "f", .data = "x", .len = 1, .number = 0600)

/* ---- dial and watch ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        stop_point("'%s' is too long for a socket: use another TMPDIR", path);
    memcpy(address.sun_path, path, strlen(path));
    place_nothing(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0)
        stop_point("socket '%s': %m", path);
    return fd;
}

static void op_dial(struct subject *s, struct trial *t)
{
    auto_free char *address = mem_printf("unix:%s/sock", s->dir);
    auto_close int listening = listen_at(at(s, "sock")), fd = -1;

    (void)listening; /* is closed at the end */
    TRY(t, transport_of(s)->dial(s->self, fake_call(), address, &fd, &t->err));
    if (t->status == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0)
        flaw("the descriptor blocks");
    if (t->status == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
        flaw("the descriptor stays open across exec");
    if (t->status != 0 && fd >= 0)
        flaw("it fails, and gives a descriptor");
}

static void op_dial_nobody(struct subject *s, struct trial *t)
{
    auto_free char *address = mem_printf("unix:%s/sock", s->dir);
    auto_close int fd = -1;

    close(listen_at(at(s, "sock"))); /* a socket that nobody listens at any more */
    TRY(t, transport_of(s)->dial(s->self, fake_call(), address, &fd, &t->err));
}

static void op_dial_nonsense(struct subject *s, struct trial *t)
{
    auto_close int fd = -1;

    TRY(t, transport_of(s)->dial(s->self, fake_call(), "carrier-pigeon", &fd, &t->err));
}

static void op_watch_dead(struct subject *s, struct trial *t)
{
    auto_close int fd = -1;

    place_nothing("pid");
    TRY(t, transport_of(s)->watch(s->self, fake_call(), at(s, "pid"), &fd, &t->err));
}

static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "run-mkdir", .call = op_mkdir},
    {.name = "run-write", .call = op_write},
    {.name = "run-write-owned", .call = op_write_owned},
    {.name = "run-mkdir-owned", .call = op_mkdir_owned},
    {.name = "run-patch", .call = op_patch},
    {.name = "run-read", .call = op_read},
    {.name = "run-read-optional", .call = op_read_optional},
    {.name = "run-clone", .call = op_clone},
    {.name = "run-grow", .call = op_grow},
    {.name = "run-rename", .call = op_rename},
    {.name = "run-remove", .call = op_remove},
    {.name = "run-remove-absent", .call = op_remove_absent},
    {.name = "run-remove-empty", .call = op_remove_empty},
    {.name = "run-remove-full", .call = op_remove_full},
    {.name = "run-stat", .call = op_stat},
    {.name = "run-stat-absent", .call = op_stat_absent},
    {.name = "run-list", .call = op_list},
    {.name = "run-statfs", .call = op_statfs},
    {.name = "run-program", .call = op_program},
    {.name = "run-any-status", .call = op_any_status},
    {.name = "run-own", .call = op_own},
    {.name = "run-kill-absent", .call = op_kill_absent},
    {.name = "run-alive-absent", .call = op_alive_absent},
    {.name = "dial", .call = op_dial},
    {.name = "run-read-no-file", .call = op_read_no_file, .refuses = RUNNER_E_NOTFOUND},
    {.name = "run-read-large", .call = op_read_large, .refuses = RUNNER_E_INVALID},
    {.name = "run-write-excl", .call = op_write_excl, .refuses = RUNNER_E_EXISTS},
    {.name = "run-mkdir-excl", .call = op_mkdir_excl, .refuses = RUNNER_E_EXISTS},
    {.name = "run-clone-over", .call = op_clone_over, .refuses = RUNNER_E_EXISTS},
    {.name = "run-grow-less", .call = op_grow_less, .refuses = RUNNER_E_INVALID},
    {.name = "run-patch-no-file", .call = op_patch_no_file, .refuses = RUNNER_E_NOTFOUND},
    {.name = "run-rename-no-file", .call = op_rename_no_file, .refuses = RUNNER_E_NOTFOUND},
    {.name = "run-relative", .call = op_relative, .refuses = RUNNER_E_INVALID},
    {.name = "dial-nobody", .call = op_dial_nobody, .refuses = RUNNER_E_UNREACHABLE},
    {.name = "dial-nonsense", .call = op_dial_nonsense, .refuses = RUNNER_E_INVALID},
    {.name = "watch-dead", .call = op_watch_dead, .refuses = RUNNER_E_NOTFOUND},
};
const struct kind kind_transport = {ops, ARRAY_LEN(ops), transport_add_points};
