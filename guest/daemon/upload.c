/* /files/upload and /files/bulk-upload: each file is written beside its target as it comes, and renamed when complete.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/text.h"
#include "guest/daemon/file.h"
#include "guest/daemon/multipart.h"
#include "guest/daemon/routes.h"

#define PATH_BYTES_MAX 4096
#define BULK_MAX       1000

struct target {
    char *path, *temporary;
    int fd;
};

struct bulk_path {
    char *index; /* what stands in files[...] */
    struct str path;
};

struct upload {
    struct multipart multipart;
    struct target target;
    char *path; /* of a single upload; NULL: bulk */
    bool has_file;
    /* bulk: */
    struct bulk_path *paths;
    size_t n_paths;
    bool is_path_part, is_skipped;
    struct runner_error first_error; /* of a file that could not be written, the others go on */
    size_t n_errors;
};

/* ---- one file ---- */

static void target_drop(struct target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->temporary != NULL)
        (void)unlink(t->temporary);
    free(t->path);
    free(t->temporary);
    *t = (struct target){.fd = -1};
}

/* What the path leads to stays the same kind of thing: links are followed, mode and owner of an existing file kept. */
static int target_open(struct target *t, const char *path, struct runner_error *err)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    const char *slash;

    if (exists && !S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is %s", path,
                    S_ISDIR(st.st_mode) ? "a directory" : "no plain file");
    if (file_make_parents(path, 0755, err) < 0)
        return -1;
    t->path = exists ? realpath(path, NULL) : mem_dup(path);
    if (t->path == NULL)
        return fail_errno(err, errno, "'%s'", path);
    slash = strrchr(t->path, '/');
    t->temporary = mem_printf("%.*s.upload-XXXXXX", slash == NULL ? 0 : (int)(slash + 1 - t->path), t->path);
    t->fd = mkostemp(t->temporary, O_CLOEXEC);
    if (t->fd < 0) {
        (void)fail_errno(err, errno, "write beside '%s'", path);
        free(t->temporary);
        t->temporary = NULL;
        return -1;
    }
    (void)fchmod(t->fd, exists ? st.st_mode & 07777 : 0644);
    if (exists)
        (void)!fchown(t->fd, st.st_uid, st.st_gid);
    return 0;
}

static int target_write(struct target *t, struct evbuffer *data, size_t n, struct runner_error *err)
{
    while (n > 0) {
        int written = evbuffer_write_atmost(data, t->fd, (ev_ssize_t)n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fail_errno(err, errno, "write '%s'", t->path);
        n -= (size_t)written;
    }
    return 0;
}

static int target_commit(struct target *t, struct runner_error *err)
{
    int status = 0;

    if (close(t->fd) < 0 || rename(t->temporary, t->path) < 0) {
        status = fail_errno(err, errno, "write '%s'", t->path);
    } else {
        free(t->temporary);
        t->temporary = NULL;
    }
    t->fd = -1;
    target_drop(t);
    return status;
}

/* ---- parts of a single upload ---- */

static int single_begin(void *arg, const char *name, const char *file_name, struct runner_error *err)
{
    struct upload *u = arg;

    if (strcmp(name, "file") != 0 && file_name == NULL)
        return 0;
    if (u->has_file)
        return fail(err, RUNNER_E_INVALID, 0, "more than one file");
    u->has_file = true;
    return target_open(&u->target, u->path, err);
}

static int single_data(void *arg, struct evbuffer *data, size_t n, struct runner_error *err)
{
    struct upload *u = arg;

    return u->target.fd < 0 ? evbuffer_drain(data, n) : target_write(&u->target, data, n, err);
}

static int single_end(void *arg, struct runner_error *err)
{
    struct upload *u = arg;

    return u->target.fd < 0 ? 0 : target_commit(&u->target, err);
}

/* ---- parts of a bulk upload: files[N].path, then files[N].file ---- */

/* One file failed: it is noted, and the rest of its data skipped. */
static int note(struct upload *u, const struct runner_error *err)
{
    if (u->n_errors++ == 0)
        error_copy(&u->first_error, err);
    target_drop(&u->target);
    u->is_skipped = true;
    return 0;
}

static struct bulk_path *find_path(struct upload *u, const char *index)
{
    for (size_t i = 0; i < u->n_paths; i++)
        if (strcmp(u->paths[i].index, index) == 0)
            return &u->paths[i];
    return NULL;
}

static int begin_path(struct upload *u, const char *index, struct runner_error *err)
{
    if (u->n_paths == BULK_MAX || find_path(u, index) != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "files[%s].path is repeated, or there are more than %d files", index,
                    BULK_MAX);
    u->paths = mem_grow(u->paths, u->n_paths + 1, sizeof *u->paths);
    u->paths[u->n_paths++] = (struct bulk_path){.index = mem_dup(index)};
    u->is_path_part = true;
    return 0;
}

static int begin_file(struct upload *u, const char *index, struct runner_error *err)
{
    struct bulk_path *path = find_path(u, index);
    auto_free char *expanded = path == NULL ? NULL : routes_expand(str_text(&path->path));

    if (expanded == NULL || *expanded == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "files[%s].path must come before files[%s].file", index, index);
    u->has_file = true;
    return target_open(&u->target, expanded, err) < 0 ? note(u, err) : 0;
}

static int bulk_begin(void *arg, const char *name, const char *file_name, struct runner_error *err)
{
    struct upload *u = arg;
    const char *rest;
    const char *close_bracket = strchr(name, ']');
    auto_free char *index = NULL;

    (void)file_name;
    u->is_path_part = u->is_skipped = false;
    if (!text_starts(name, "files[", &rest) || close_bracket == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "part '%s' is neither files[N].path nor files[N].file", name);
    index = mem_dup_n(rest, (size_t)(close_bracket - rest));
    if (strcmp(close_bracket, "].path") == 0)
        return begin_path(u, index, err);
    if (strcmp(close_bracket, "].file") == 0)
        return begin_file(u, index, err);
    return fail(err, RUNNER_E_INVALID, 0, "part '%s' is neither files[N].path nor files[N].file", name);
}

static int bulk_data(void *arg, struct evbuffer *data, size_t n, struct runner_error *err)
{
    struct upload *u = arg;

    if (u->is_path_part) {
        struct str *path = &u->paths[u->n_paths - 1].path;
        if (path->len + n > PATH_BYTES_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "a path is longer than %d bytes", PATH_BYTES_MAX);
        str_reserve(path, n);
        (void)evbuffer_remove(data, path->ptr + path->len, n);
        path->len += n;
        path->ptr[path->len] = '\0';
        return 0;
    }
    if (!u->is_skipped) {
        size_t before = evbuffer_get_length(data);
        if (target_write(&u->target, data, n, err) == 0)
            return 0;
        n -= before - evbuffer_get_length(data);
        (void)note(u, err);
    }
    return evbuffer_drain(data, n);
}

static int bulk_end(void *arg, struct runner_error *err)
{
    struct upload *u = arg;

    if (u->is_path_part || u->is_skipped)
        return 0;
    return target_commit(&u->target, err) < 0 ? note(u, err) : 0;
}

/* ---- the request ---- */

static void on_done(struct exchange *x)
{
    struct upload *u = x->state;

    target_drop(&u->target);
    multipart_done(&u->multipart);
    for (size_t i = 0; i < u->n_paths; i++) {
        free(u->paths[i].index);
        str_done(&u->paths[i].path);
    }
    free(u->paths);
    free(u->path);
    free(u);
}

static int finish(struct upload *u, struct runner_error *err)
{
    if (!u->multipart.is_complete)
        return fail(err, RUNNER_E_INVALID, 0, "multipart: the body ends before its last delimiter");
    if (!u->has_file)
        return fail(err, RUNNER_E_INVALID, 0, "no file in the body");
    if (u->n_errors == 0)
        return 0;
    error_copy(err, &u->first_error);
    if (u->n_errors > 1)
        error_append(err, "%zu more files failed", u->n_errors - 1);
    return -1;
}

static void on_data(struct exchange *x)
{
    struct upload *u = x->state;
    struct runner_error err = ERROR_INIT;
    int status = multipart_push(&u->multipart, x->body, &err);

    if (status == 0 && !x->intake.is_done)
        return;
    if (status == 0)
        status = finish(u, &err);
    x->on_data = NULL;
    if (status < 0)
        reply_fail(x, &err);
    else
        reply_empty(x, 200);
}

static void begin(struct exchange *x, char *path, const struct multipart_handler *handler)
{
    struct upload *u = mem_alloc(sizeof *u);
    struct runner_error err = ERROR_INIT;

    u->path = path;
    u->target.fd = -1;
    u->first_error = err;
    x->state = u;
    x->on_done = on_done;
    if (x->intake.is_done)
        (void)fail(&err, RUNNER_E_INVALID, 0, "the body is empty");
    else if (multipart_init(&u->multipart, head_get(&x->head, "Content-Type"), handler, u, &err) == 0) {
        x->on_data = on_data;
        return;
    }
    reply_fail(x, &err);
}

void upload_post(struct exchange *x)
{
    static const struct multipart_handler handler = {single_begin, single_data, single_end};
    char *path = routes_need_path(x, "path");

    if (path != NULL)
        begin(x, path, &handler);
}

void upload_bulk(struct exchange *x)
{
    static const struct multipart_handler handler = {bulk_begin, bulk_data, bulk_end};

    begin(x, NULL, &handler);
}
