/* /files/search, /files/find and /files/replace, in a worker. */
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "guest/daemon/routes.h"
#include "guest/daemon/worker.h"

#define RESULTS_MAX  10000
#define DEPTH_MAX    64
#define FILE_MAX     (256 * 1024 * 1024) /* larger files are not looked into */
#define LINE_SHOWN   1000                /* bytes of a matching line that are shown */
#define PEEK         8192                /* a NUL among the first makes a file binary */
#define REPLACED_MAX (1024 * 1024 * 1024)

struct search {
    const char *path, *pattern;
    struct str *out;
    size_t n_results;
};

/* What visits each file of a tree; fd is the directory, path the whole name. */
typedef void visit_fn(struct search *s, int fd, const char *name, const char *path, bool is_dir);

static int walk(struct search *s, int fd, const char *path, int depth, visit_fn *visit)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    struct stat st;

    if (dir == NULL) {
        close(fd);
        return -1;
    }
    while (s->n_results < RESULTS_MAX && (entry = readdir(dir)) != NULL) {
        auto_free char *child_path =
            mem_printf("%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", entry->d_name);
        bool is_dir;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        is_dir = S_ISDIR(st.st_mode);
        visit(s, fd, entry->d_name, child_path, is_dir);
        if (is_dir && depth < DEPTH_MAX) {
            int child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (child >= 0) /* one that may not be read is left out */
                (void)walk(s, child, child_path, depth + 1, visit);
        }
    }
    closedir(dir);
    return 0;
}

static int walk_root(struct search *s, visit_fn *visit, struct runner_error *err)
{
    int fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, errno, "open '%s'", s->path);
    return walk(s, fd, s->path, 0, visit) < 0 ? fail_errno(err, errno, "read '%s'", s->path) : 0;
}

/* ---- by name ---- */

static void visit_name(struct search *s, int fd, const char *name, const char *path, bool is_dir)
{
    (void)fd;
    (void)is_dir;
    if (fnmatch(s->pattern, name, 0) != 0)
        return;
    json_add_text(s->out, NULL, path);
    s->n_results++;
}

static int work_names(const void *arg, struct str *out, struct runner_error *err)
{
    struct search s = *(const struct search *)arg;

    s.out = out;
    json_open(out, NULL, '{');
    json_open(out, "files", '[');
    if (walk_root(&s, visit_name, err) < 0)
        return -1;
    json_close(out, ']');
    json_close(out, '}');
    return 0;
}

/* ---- contents ---- */

struct mapped {
    const char *data; /* NULL when empty */
    size_t len;
    struct stat st;
};

static int map_file(int dir, const char *name, struct mapped *ret, struct runner_error *err)
{
    auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, "open '%s'", name);
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no plain file", name);
    if (st.st_size > FILE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is larger than %d bytes", name, FILE_MAX);
    *ret = (struct mapped){NULL, (size_t)st.st_size, st};
    if (st.st_size == 0)
        return 0;
    ret->data = mmap(NULL, ret->len, PROT_READ, MAP_PRIVATE, fd, 0);
    return ret->data == MAP_FAILED ? fail_errno(err, errno, "read '%s'", name) : 0;
}

static void unmap_file(struct mapped *m)
{
    if (m->data != NULL)
        (void)munmap((void *)(uintptr_t)m->data, m->len);
}

static void add_match(struct search *s, const char *path, size_t line, const char *text, size_t len)
{
    json_open(s->out, NULL, '{');
    json_add_text(s->out, "file", path);
    json_add_int(s->out, "line", (int64_t)line);
    routes_add_output(s->out, "content", text, len < LINE_SHOWN ? len : LINE_SHOWN);
    json_close(s->out, '}');
    s->n_results++;
}

static void search_lines(struct search *s, const char *path, const char *data, size_t len)
{
    size_t pattern_len = strlen(s->pattern);
    const char *end = data + len;

    for (size_t line = 1; data < end && s->n_results < RESULTS_MAX; line++) {
        const char *newline = memchr(data, '\n', (size_t)(end - data));
        size_t line_len = (size_t)((newline == NULL ? end : newline) - data);
        if (memmem(data, line_len, s->pattern, pattern_len) != NULL)
            add_match(s, path, line, data, line_len);
        data += line_len + 1;
    }
}

static void visit_text(struct search *s, int fd, const char *name, const char *path, bool is_dir)
{
    struct runner_error err = ERROR_INIT;
    struct mapped m;

    if (is_dir || map_file(fd, name, &m, &err) < 0)
        return;
    if (m.data != NULL && memchr(m.data, '\0', m.len < PEEK ? m.len : PEEK) == NULL &&
        memmem(m.data, m.len, s->pattern, strlen(s->pattern)) != NULL)
        search_lines(s, path, m.data, m.len);
    unmap_file(&m);
}

static int work_text(const void *arg, struct str *out, struct runner_error *err)
{
    struct search s = *(const struct search *)arg;
    struct stat st;

    s.out = out;
    json_open(out, NULL, '[');
    if (stat(s.path, &st) == 0 && S_ISREG(st.st_mode))
        visit_text(&s, AT_FDCWD, s.path, s.path, false);
    else if (walk_root(&s, visit_text, err) < 0)
        return -1;
    json_close(out, ']');
    return 0;
}

static void begin(struct exchange *x, worker_fn *work)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_free char *pattern = path == NULL ? NULL : routes_need_query(x, "pattern");

    if (pattern != NULL)
        worker_run(x, 200, work, &(struct search){.path = path, .pattern = pattern});
}

void search_names(struct exchange *x)
{
    begin(x, work_names);
}

void search_text(struct exchange *x)
{
    begin(x, work_text);
}

/* ---- replace ---- */

struct replace {
    const char *pattern, *value;
    const struct json *files;
};

static int add_replaced(struct str *text, const struct mapped *m, const struct replace *r, struct runner_error *err)
{
    size_t pattern_len = strlen(r->pattern), value_len = strlen(r->value);
    const char *at = m->data, *end = m->data + m->len, *hit;

    while ((hit = memmem(at, (size_t)(end - at), r->pattern, pattern_len)) != NULL) {
        if (text->len + (size_t)(hit - at) + value_len > REPLACED_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "the result is larger than %d bytes", REPLACED_MAX);
        str_add_mem(text, at, (size_t)(hit - at));
        str_add_mem(text, r->value, value_len);
        at = hit + pattern_len;
    }
    str_add_mem(text, at, (size_t)(end - at));
    return 0;
}

/* Beside the file and renamed, so that a reader sees the old or the new one. */
static int write_file(const char *path, const struct str *text, const struct stat *old, struct runner_error *err)
{
    auto_free char *real = realpath(path, NULL);
    auto_free char *temporary = mem_printf("%s.replace-XXXXXX", real == NULL ? path : real);
    auto_close int fd = mkostemp(temporary, O_CLOEXEC);

    if (fd < 0)
        return fail_errno(err, errno, "write beside '%s'", path);
    (void)!fchown(fd, old->st_uid, old->st_gid);
    if (write(fd, str_text(text), text->len) != (ssize_t)text->len || fchmod(fd, old->st_mode & 07777) < 0 ||
        rename(temporary, real == NULL ? path : real) < 0) {
        (void)fail_errno(err, errno, "write '%s'", path);
        (void)unlink(temporary);
        return -1;
    }
    return 0;
}

static int replace_in(const struct replace *r, const char *path, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;
    struct mapped m;
    int status = 0;

    if (map_file(AT_FDCWD, path, &m, err) < 0)
        return -1;
    if (m.data != NULL && memmem(m.data, m.len, r->pattern, strlen(r->pattern)) != NULL) {
        status = add_replaced(&text, &m, r, err);
        if (status == 0)
            status = write_file(path, &text, &m.st, err);
    }
    unmap_file(&m);
    return status;
}

static int work_replace(const void *arg, struct str *out, struct runner_error *err)
{
    const struct replace *r = arg;

    (void)err;
    json_open(out, NULL, '[');
    for (const struct json *file = r->files->first; file != NULL; file = file->next) {
        struct runner_error one = ERROR_INIT;
        auto_free char *path = routes_expand(file->text);
        int status = replace_in(r, path, &one);
        json_open(out, NULL, '{');
        json_add_text(out, "file", file->text);
        json_add_bool(out, "success", status == 0);
        if (status < 0)
            json_add_text(out, "error", one.message);
        json_close(out, '}');
    }
    json_close(out, ']');
    return 0;
}

void search_replace(struct exchange *x)
{
    auto_json struct json *body = exchange_json(x);
    struct replace r = {json_text(body, "pattern", ""), json_text(body, "newValue", NULL), json_get(body, "files")};
    bool are_paths = r.files != NULL && r.files->type == JSON_ARRAY;

    if (body == NULL)
        return;
    for (const struct json *f = are_paths ? r.files->first : NULL; f != NULL; f = f->next)
        are_paths = are_paths && f->type == JSON_STRING && *f->text != '\0';
    if (!are_paths)
        reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: files is not a list of paths");
    else if (*r.pattern == '\0' || r.value == NULL)
        reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: pattern and newValue are required texts");
    else
        worker_run(x, 200, work_replace, &r);
}
