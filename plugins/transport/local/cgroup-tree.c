/* Where cgroups are made: <root of the hierarchy>/<parameter cgroup>/<hash of the host's root>/. The hash keeps apart
 * runners that share a machine: each may have a sandbox of the same name. */
#include "plugins/transport/local/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    unsigned bit;
} controllers[] = {{"memory", CGROUP_MEMORY}, {"pids", CGROUP_PIDS}, {"cpu", CGROUP_CPU}};

int cgroup_write(int dir, const char *file, const char *text)
{
    auto_close int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

/* The controllers that a file names, words with blanks between. */
static unsigned read_controllers(int dir, const char *file)
{
    auto_close int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
    char text[512], *rest = text, *word;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    unsigned bits = 0;

    text[n > 0 ? n : 0] = '\0';
    while ((word = strsep(&rest, " \n")) != NULL)
        for (size_t i = 0; i < ARRAY_LEN(controllers); i++)
            if (strcmp(word, controllers[i].name) == 0)
                bits |= controllers[i].bit;
    return bits;
}

/* Hands down to the cgroups in dir what can be. Each by itself: one that cannot be takes none of the others along. */
static void hand_down(int dir)
{
    unsigned missing = read_controllers(dir, "cgroup.controllers") & ~read_controllers(dir, "cgroup.subtree_control");

    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "+%s", controllers[i].name);
        if (missing & controllers[i].bit)
            (void)cgroup_write(dir, "cgroup.subtree_control", text);
    }
}

/* "\040" and the like, as the kernel writes blanks in a path. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *p = text; *p != '\0'; to++)
        if (p[0] == '\\' && strspn(p + 1, "01234567") >= 3) {
            *to = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 4;
        } else {
            *to = *p++;
        }
    *to = '\0';
}

/* The mount point when this line of mountinfo is of the hierarchy: "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 ...". */
static const char *mount_point(char *line)
{
    char *type = strstr(line, " - "), *at = line;

    if (type == NULL || strncmp(type, " - cgroup2 ", strlen(" - cgroup2 ")) != 0)
        return NULL;
    for (int i = 0; i < 4 && at != NULL; i++) {
        at = strchr(at, ' ');
        at += at != NULL;
    }
    if (at == NULL)
        return NULL;
    at[strcspn(at, " ")] = '\0';
    unescape(at);
    return at;
}

static int open_root(struct runner_error *err)
{
    auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
    auto_free char *line = NULL;
    size_t cap = 0;
    int fd = -1;

    if (file == NULL)
        return fail_errno(err, errno, "cgroups: /proc/self/mountinfo");
    while (fd < 0 && getline(&line, &cap, file) > 0) {
        const char *at = mount_point(line);

        if (at != NULL && (fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
            return fail_errno(err, errno, "cgroups: '%s'", at);
    }
    return fd >= 0 ? fd : fail(err, RUNNER_E_NOTSUP, 0, "cgroups: no cgroup2 file system is mounted");
}

/* Opens path below the root, makes what is missing of it, hands controllers down on the way. */
static int make_path(int root, const char *path, struct runner_error *err)
{
    auto_free char *copy = mem_dup(path);
    char *rest = copy, *name;
    int dir = fcntl(root, F_DUPFD_CLOEXEC, 3);

    while (dir >= 0 && (name = strsep(&rest, "/")) != NULL) {
        auto_close int from = dir;

        hand_down(from);
        if (mkdirat(from, name, 0755) < 0 && errno != EEXIST)
            dir = -1;
        else
            dir = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (dir < 0)
        return fail_errno(err, errno, "cgroups: make '%s'", path);
    hand_down(dir);
    return dir;
}

static void forget(struct cgroups *all)
{
    cleanup_close(&all->root);
    cleanup_close(&all->dir);
    free(all->path);
    all->root = all->dir = -1;
    all->path = NULL;
}

static char *path_for(const char *parent, const char *host_root)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (const char *p = host_root; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
    return mem_printf("%s/%016llx", parent, (unsigned long long)hash);
}

static int set_up(struct cgroups *all, const char *host_root, struct runner_error *err)
{
    error_clear(err);
    if (all->parent[0] == '\0')
        return fail(err, RUNNER_E_NOTSUP, 0, "cgroups: none are configured");
    all->path = path_for(all->parent, host_root);
    all->root = open_root(err);
    if (all->root >= 0)
        all->dir = make_path(all->root, all->path, err);
    if (all->dir < 0)
        return -1;
    all->controllers = read_controllers(all->dir, "cgroup.subtree_control");
    return 0;
}

int cgroups_open(const struct act *a, bool again, int *ret_dir, unsigned *ret_controllers, struct runner_error *err)
{
    struct cgroups *all = a->self->cgroups;

    pthread_mutex_lock(&all->lock);
    if (again)
        forget(all);
    if (all->dir < 0 && (again || all->cause.code != RUNNER_E_NOTSUP) &&
        set_up(all, local_host->root(a->call), &all->cause) < 0)
        forget(all);
    *ret_dir = all->dir >= 0 ? fcntl(all->dir, F_DUPFD_CLOEXEC, 3) : -1;
    *ret_controllers = all->controllers;
    if (*ret_dir < 0 && all->cause.code != 0 && err != NULL)
        error_copy(err, &all->cause);
    else if (*ret_dir < 0)
        fail_errno(err, errno, "cgroups");
    pthread_mutex_unlock(&all->lock);
    return *ret_dir < 0 ? -1 : 0;
}

int cgroups_find(const struct act *a, int *ret_dir, struct runner_error *err)
{
    const struct cgroups *all = a->self->cgroups;
    auto_free char *path = path_for(all->parent, local_host->root(a->call));
    auto_close int root = -1;

    if (all->parent[0] == '\0')
        return 1;
    root = open_root(err);
    if (root < 0)
        return err->code == RUNNER_E_NOTSUP ? (error_clear(err), 1) : -1;
    *ret_dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret_dir < 0) /* EACCES: another user's runner was here before, and so nothing of ours ever was */
        return errno == ENOENT || errno == EACCES ? 1 : fail_errno(err, errno, "cgroups: '%s'", path);
    return 0;
}

static bool is_below(const char *path)
{
    size_t len = strcspn(path, "/");

    if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
        return false;
    return path[len] == '\0' || is_below(path + len + 1);
}

int cgroups_new(const char *parent, struct cgroups **ret, struct runner_error *err)
{
    struct cgroups *all;

    if (parent[0] != '\0' && !is_below(parent))
        return fail(err, RUNNER_E_INVALID, 0, "cgroup: '%s' is no path below the root of the hierarchy", parent);
    all = mem_alloc(sizeof *all);
    *all = (struct cgroups){.parent = parent, .root = -1, .dir = -1, .cause = ERROR_INIT};
    pthread_mutex_init(&all->lock, NULL);
    *ret = all;
    return 0;
}

void cgroups_free(struct cgroups *all)
{
    if (all == NULL)
        return;
    /* Not when there are processes in them, or they are another's too. */
    while (all->path != NULL && unlinkat(all->root, all->path, AT_REMOVEDIR) == 0) {
        char *slash = strrchr(all->path, '/');

        if (slash == NULL)
            break;
        *slash = '\0';
    }
    forget(all);
    pthread_mutex_destroy(&all->lock);
    free(all);
}
