/* /files: what does not move contents. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>

#include "core/util/num.h"
#include "guest/daemon/file.h"
#include "guest/daemon/routes.h"
#include "guest/daemon/user.h"
#include "guest/daemon/worker.h"

/* "drwxr-xr-x"; a symbolic link and a device as Go's FileMode shows them. */
static void mode_text(mode_t mode, char ret[11])
{
    static const char letters[] = "rwxrwxrwx";

    ret[0] = S_ISDIR(mode)                    ? 'd'
             : S_ISLNK(mode)                  ? 'L'
             : S_ISFIFO(mode)                 ? 'p'
             : S_ISSOCK(mode)                 ? 'S'
             : S_ISBLK(mode) || S_ISCHR(mode) ? 'D'
                                              : '-';
    for (int i = 0; i < 9; i++)
        ret[i + 1] = (mode >> (8 - i) & 1) != 0 ? letters[i] : '-';
    ret[10] = '\0';
}

static void add_times(struct str *json, const struct timespec *at)
{
    auto_str struct str go = STR_INIT, rfc = STR_INIT;
    struct tm tm;
    char day[32], clock[16];

    (void)gmtime_r(&at->tv_sec, &tm);
    (void)strftime(day, sizeof day, "%Y-%m-%d", &tm);
    (void)strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    str_addf(&go, "%s %s.%09ld +0000 UTC", day, clock, at->tv_nsec);
    str_addf(&rfc, "%sT%s.%09ldZ", day, clock, at->tv_nsec);
    json_add_text(json, "modTime", str_text(&go));
    json_add_text(json, "modifiedAt", str_text(&rfc));
}

static void add_info(struct str *json, const char *name, const struct stat *st)
{
    auto_free char *owner = user_name_of(st->st_uid);
    auto_free char *group = user_group_of(st->st_gid);
    auto_free char *permissions = mem_printf("%04o", st->st_mode & 07777u);
    char mode[11];

    mode_text(st->st_mode, mode);
    json_open(json, NULL, '{');
    json_add_text(json, "name", name);
    json_add_bool(json, "isDir", S_ISDIR(st->st_mode));
    json_add_int(json, "size", st->st_size);
    json_add_text(json, "mode", mode);
    json_add_text(json, "permissions", permissions);
    json_add_text(json, "owner", owner);
    json_add_text(json, "group", group);
    add_times(json, &st->st_mtim);
    json_close(json, '}');
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int list(const void *arg, struct str *out, struct runner_error *err)
{
    const char *path = arg;
    auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent **entries;
    int n = fd < 0 ? -1 : scandir(path, &entries, NULL, compare_names);
    struct stat st;

    if (n < 0)
        return fail_errno(err, errno, "list '%s'", path);
    json_open(out, NULL, '[');
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            add_info(out, name, &st);
    }
    json_close(out, ']');
    return 0;
}

void file_list(struct exchange *x)
{
    auto_free char *path = head_query(&x->head, "path");
    auto_free char *expanded = routes_expand(path == NULL || *path == '\0' ? "." : path);

    worker_run(x, 200, list, expanded);
}

void file_info(struct exchange *x)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_str struct str json = STR_INIT;
    struct runner_error err = ERROR_INIT;
    const char *name;
    struct stat st;

    if (path == NULL)
        return;
    if (lstat(path, &st) < 0) {
        (void)fail_errno(&err, errno, "'%s'", path);
        reply_fail(x, &err);
        return;
    }
    name = strrchr(path, '/');
    add_info(&json, name == NULL || name[1] == '\0' ? path : name + 1, &st);
    reply_json(x, 200, &json);
}

int file_make_parents(const char *path, mode_t mode, struct runner_error *err)
{
    auto_free char *copy = mem_dup(path);

    for (char *slash = strchr(copy + 1, '/'); *copy != '\0' && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return fail_errno(err, errno, "make directory '%s'", copy);
        *slash = '/';
    }
    return 0;
}

static bool parse_mode(const char *text, mode_t *ret)
{
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, "01234567") != len || strtoul(text, NULL, 8) > 07777)
        return false;
    *ret = (mode_t)strtoul(text, NULL, 8);
    return true;
}

static int make_folder(const char *path, mode_t mode, struct runner_error *err)
{
    struct stat st;

    if (file_make_parents(path, 0755, err) < 0)
        return -1;
    if (mkdir(path, mode) == 0)
        return chmod(path, mode) < 0 ? fail_errno(err, errno, "mode of '%s'", path) : 0;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return fail_errno(err, errno, "make directory '%s'", path);
}

void file_folder(struct exchange *x)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_free char *mode_query = head_query(&x->head, "mode");
    struct runner_error err = ERROR_INIT;
    mode_t mode = 0755;

    if (path == NULL)
        return;
    if (mode_query != NULL && *mode_query != '\0' && !parse_mode(mode_query, &mode))
        reply_error(x, 400, "BAD_REQUEST", "bad request: mode '%s' is not octal", mode_query);
    else if (make_folder(path, mode, &err) < 0)
        reply_fail(x, &err);
    else
        reply_empty(x, 201);
}

/* ---- delete ---- */

struct delete_request {
    const char *path;
    bool is_recursive;
};

static int delete_tree(int parent, const char *name, struct runner_error *err)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL)
        return fail_errno(err, errno, "open '%s'", name);
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || unlinkat(fd, entry->d_name, 0) == 0)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return fail_errno(err, errno, "delete '%s'", entry->d_name);
        if (delete_tree(fd, entry->d_name, err) < 0)
            return error_wrap(err, "in '%s'", name);
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
        return fail_errno(err, errno, "delete '%s'", name);
    return 0;
}

static int delete (const void *arg, struct str *out, struct runner_error *err)
{
    const struct delete_request *r = arg;
    struct stat st;

    (void)out;
    if (lstat(r->path, &st) < 0)
        return fail_errno(err, errno, "'%s'", r->path);
    if (!S_ISDIR(st.st_mode))
        return unlink(r->path) < 0 ? fail_errno(err, errno, "delete '%s'", r->path) : 0;
    if (!r->is_recursive)
        return fail(err, RUNNER_E_INVALID, 0, "cannot delete directory '%s' without recursive=true", r->path);
    return delete_tree(AT_FDCWD, r->path, err);
}

void file_delete(struct exchange *x)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_free char *recursive = head_query(&x->head, "recursive");
    int64_t is_recursive = 0;

    if (path == NULL)
        return;
    if (recursive != NULL && !num_bool(recursive, &is_recursive))
        reply_error(x, 400, "BAD_REQUEST", "bad request: recursive is not true or false");
    else
        worker_run(x, 204, delete, &(struct delete_request){path, is_recursive != 0});
}

/* ---- move ---- */

struct move_request {
    const char *source, *destination;
};

static int copy_contents(int from, int to)
{
    ssize_t n;

    while ((n = sendfile(to, from, NULL, 1 << 20)) > 0)
        ;
    return (int)n;
}

/* Between file systems: one regular file. A tree would need a copier of its own; the error says so. */
static int move_across(const struct move_request *r, struct runner_error *err)
{
    auto_close int from = open(r->source, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    auto_close int to = -1;
    struct stat st;

    if (from < 0 || fstat(from, &st) < 0)
        return fail_errno(err, errno, "open '%s'", r->source);
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_NOTSUP, 0, "'%s' is no plain file and its destination is on another file system",
                    r->source);
    to = open(r->destination, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st.st_mode & 07777);
    if (to < 0 || copy_contents(from, to) < 0 || fchmod(to, st.st_mode & 07777) < 0)
        return fail_errno(err, errno, "write '%s'", r->destination);
    return unlink(r->source) < 0 ? fail_errno(err, errno, "delete '%s'", r->source) : 0;
}

static int move(const void *arg, struct str *out, struct runner_error *err)
{
    const struct move_request *r = arg;

    (void)out;
    if (rename(r->source, r->destination) == 0)
        return 0;
    if (errno == EXDEV)
        return move_across(r, err);
    return fail_errno(err, errno, "move '%s' to '%s'", r->source, r->destination);
}

void file_move(struct exchange *x)
{
    auto_free char *source = routes_need_path(x, "source");
    auto_free char *destination = source == NULL ? NULL : routes_need_path(x, "destination");

    if (destination != NULL)
        worker_run(x, 200, move, &(struct move_request){source, destination});
}

/* ---- permissions ---- */

static int set_owner(const char *path, const char *owner, const char *group, struct runner_error *err)
{
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;

    if (owner != NULL && *owner != '\0' && !user_parse_uid(owner, &uid))
        return fail(err, RUNNER_E_INVALID, 0, "owner '%s' is unknown", owner);
    if (group != NULL && *group != '\0' && !user_parse_gid(group, &gid))
        return fail(err, RUNNER_E_INVALID, 0, "group '%s' is unknown", group);
    if (uid == (uid_t)-1 && gid == (gid_t)-1)
        return 0;
    return chown(path, uid, gid) < 0 ? fail_errno(err, errno, "owner of '%s'", path) : 0;
}

static int set_mode(const char *path, const char *text, struct runner_error *err)
{
    mode_t mode;

    if (text == NULL || *text == '\0')
        return 0;
    if (!parse_mode(text, &mode))
        return fail(err, RUNNER_E_INVALID, 0, "mode '%s' is not octal", text);
    return chmod(path, mode) < 0 ? fail_errno(err, errno, "mode of '%s'", path) : 0;
}

void file_permissions(struct exchange *x)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_free char *owner = head_query(&x->head, "owner");
    auto_free char *group = head_query(&x->head, "group");
    auto_free char *mode = head_query(&x->head, "mode");
    struct runner_error err = ERROR_INIT;

    if (path == NULL)
        return;
    if (access(path, F_OK) < 0)
        (void)fail_errno(&err, errno, "'%s'", path);
    else if (set_owner(path, owner, group, &err) == 0 && set_mode(path, mode, &err) == 0) {
        reply_empty(x, 200);
        return;
    }
    reply_fail(x, &err);
}
