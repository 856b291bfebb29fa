#include "guest/daemon/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

struct process {
    pid_t pid;
    process_exit_fn *on_exit; /* NULL: forgotten */
    void *arg;
    struct process *next;
};

/* A pipe whose reader has what it wanted, while somebody may still write. */
struct leftover {
    struct event *readable;
    int fd;
    struct leftover *next;
};

static struct {
    struct event *sigchld;
    struct process *first;
    struct leftover *leftovers;
} self;

static void reap(evutil_socket_t signal, short what, void *arg)
{
    struct process **at = &self.first;

    (void)signal;
    (void)what;
    (void)arg;
    while (*at != NULL) {
        struct process *p = *at;
        int status;
        if (waitpid(p->pid, &status, WNOHANG) == 0) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        if (p->on_exit != NULL)
            p->on_exit(p->arg, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        free(p);
        at = &self.first; /* the callback may have changed the list */
    }
}

/* ---- leftovers ---- */

static void leftover_free(struct leftover *l)
{
    for (struct leftover **at = &self.leftovers; *at != NULL; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    if (l->readable != NULL)
        event_free(l->readable);
    close(l->fd);
    free(l);
}

static void on_leftover(evutil_socket_t fd, short what, void *arg)
{
    char buffer[16384];
    ssize_t n = read(fd, buffer, sizeof buffer);

    (void)what;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        leftover_free(arg);
}

void process_drain(struct event_base *base, int fd)
{
    struct leftover *l = mem_alloc(sizeof *l);

    l->fd = fd;
    l->next = self.leftovers;
    self.leftovers = l;
    l->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_leftover, l);
    if (l->readable == NULL || event_add(l->readable, NULL) < 0)
        leftover_free(l);
}

int process_init(struct event_base *base, struct runner_error *err)
{
    self.sigchld = evsignal_new(base, SIGCHLD, reap, NULL);
    if (self.sigchld == NULL || event_add(self.sigchld, NULL) < 0)
        return fail(err, RUNNER_E_IO, 0, "watch SIGCHLD");
    return 0;
}

void process_done(void)
{
    while (self.first != NULL) {
        struct process *p = self.first;
        self.first = p->next;
        free(p);
    }
    while (self.leftovers != NULL)
        leftover_free(self.leftovers);
    event_free(self.sigchld);
}

struct process *process_watch(pid_t pid, process_exit_fn *on_exit, void *arg)
{
    struct process *p = mem_alloc(sizeof *p);

    *p = (struct process){pid, on_exit, arg, self.first};
    self.first = p;
    return p;
}

void process_kill(struct process *p, int signal)
{
    if (p != NULL && kill(-p->pid, signal) < 0)
        (void)kill(p->pid, signal);
}

void process_forget(struct process *p)
{
    if (p != NULL)
        p->on_exit = NULL;
}

/* ---- starting ---- */

static bool env_overrides(const struct json *env, const char *entry)
{
    size_t len = strcspn(entry, "=");

    for (const struct json *j = env == NULL ? NULL : env->first; j != NULL; j = j->next)
        if (strlen(j->key) == len && strncmp(j->key, entry, len) == 0)
            return true;
    return false;
}

static void free_list(char ***list)
{
    for (char **p = *list; p != NULL && *p != NULL; p++)
        free(*p);
    free(*list);
}

/* The daemon's environment with the request's on top. */
static int build_env(const struct json *env, char ***ret, struct runner_error *err)
{
    __attribute__((cleanup(free_list))) char **list = NULL;
    size_t n = 0, i = 0;

    for (char **e = environ; *e != NULL; e++)
        n++;
    for (const struct json *j = env == NULL ? NULL : env->first; j != NULL; j = j->next)
        n++;
    list = mem_array(n + 1, sizeof *list);
    for (char **e = environ; *e != NULL; e++)
        if (!env_overrides(env, *e))
            list[i++] = mem_dup(*e);
    for (const struct json *j = env == NULL ? NULL : env->first; j != NULL; j = j->next) {
        if (j->type != JSON_STRING || *j->key == '\0' || strchr(j->key, '=') != NULL)
            return fail(err, RUNNER_E_INVALID, 0, "envs: '%s' is no name of a text", j->key);
        list[i++] = mem_printf("%s=%s", j->key, j->text);
    }
    *ret = list;
    list = NULL;
    return 0;
}

/* Each goes to a number above the targets first, so that no dup2 destroys a source of the next. */
static int place_fds(posix_spawn_file_actions_t *actions, const struct process_spec *spec)
{
    enum { ABOVE = 1000 };

    for (int i = 0; i < 4; i++) {
        int bad = 0;
        if (spec->fds[i] >= 0)
            bad = posix_spawn_file_actions_adddup2(actions, spec->fds[i], ABOVE + i);
        else if (i < 3)
            bad = posix_spawn_file_actions_addopen(actions, ABOVE + i, "/dev/null", O_RDWR, 0);
        if (bad != 0)
            return bad;
    }
    for (int i = 0; i < 4; i++)
        if ((spec->fds[i] >= 0 || i < 3) && (posix_spawn_file_actions_adddup2(actions, ABOVE + i, i) != 0 ||
                                             posix_spawn_file_actions_addclose(actions, ABOVE + i) != 0))
            return ENOMEM;
    return 0;
}

static int spawn(const struct process_spec *spec, char **env, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    int bad;

    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    bad = place_fds(&actions, spec);
    if (bad == 0 && spec->cwd != NULL)
        bad = posix_spawn_file_actions_addchdir_np(&actions, spec->cwd);
    if (bad == 0)
        bad = posix_spawn(ret, spec->argv[0], &actions, &attributes, (char *const *)(uintptr_t)spec->argv, env);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return bad;
}

int process_start(const struct process_spec *spec, process_exit_fn *on_exit, void *arg, struct process **ret,
                  struct runner_error *err)
{
    __attribute__((cleanup(free_list))) char **env = NULL;
    struct stat st;
    pid_t pid;
    int bad;

    if (spec->cwd != NULL && stat(spec->cwd, &st) < 0)
        return fail_errno(err, errno, "cwd '%s'", spec->cwd);
    if (spec->cwd != NULL && !S_ISDIR(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "cwd '%s' is no directory", spec->cwd);
    if (build_env(spec->env, &env, err) < 0)
        return -1;
    bad = spawn(spec, env, &pid);
    if (bad != 0)
        return fail_errno(err, bad, "start '%s'", spec->argv[0]);
    *ret = process_watch(pid, on_exit, arg);
    return 0;
}

const char *process_shell(void)
{
    static const char *const names[] = {"bash", "sh", "dash", "ash"};
    const char *shell = getenv("SHELL");
    const char *slash = shell == NULL ? NULL : strrchr(shell, '/');

    for (size_t i = 0; slash != NULL && i < ARRAY_LEN(names); i++)
        if (strcmp(slash + 1, names[i]) == 0 && access(shell, X_OK) == 0)
            return shell;
    return access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
}
