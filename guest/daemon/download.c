/* /files/download and /files/bulk-download: contents go from the file to the socket. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "guest/daemon/routes.h"

#define BULK_MAX    256
#define SPECIAL_MAX (1024 * 1024) /* of /proc and the like, whose size is not known before */

/* A multipart reply; the boundary is random, so that no file can hold it on purpose. */
struct bulk {
    struct exchange *x;
    char boundary[48];
};

struct contents {
    int fd; /* -1 when data has it all */
    int64_t length;
    struct str data;
};

/* Files of size 0 may be of /proc: those are read. */
static int read_special(struct contents *c, const char *path, struct runner_error *err)
{
    char buffer[16384];
    ssize_t n;

    while ((n = read(c->fd, buffer, sizeof buffer)) > 0 && c->data.len < SPECIAL_MAX)
        str_add_mem(&c->data, buffer, (size_t)n);
    if (n < 0)
        return fail_errno(err, errno, "read '%s'", path);
    close(c->fd);
    c->fd = -1;
    c->length = (int64_t)c->data.len;
    return 0;
}

static void contents_done(struct contents *c)
{
    if (c->fd >= 0)
        close(c->fd);
    str_done(&c->data);
}

static int contents_open(struct contents *c, const char *path, struct runner_error *err)
{
    struct stat st;

    *c = (struct contents){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (c->fd < 0 || fstat(c->fd, &st) < 0)
        return fail_errno(err, errno, "open '%s'", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is %s", path,
                    S_ISDIR(st.st_mode) ? "a directory" : "no plain file");
    c->length = st.st_size;
    return c->length == 0 ? read_special(c, path, err) : 0;
}

static void contents_send(struct contents *c, struct exchange *x)
{
    if (c->fd < 0) {
        reply_data(x, c->data.ptr, c->data.len);
    } else {
        reply_file(x, c->fd, c->length);
        c->fd = -1;
    }
}

/* Quotes and controls would break the header line. */
static void add_file_name(struct str *out, const char *path)
{
    for (; *path != '\0'; path++) {
        if (*path == '"' || *path == '\\')
            str_add_char(out, '\\');
        str_add_char(out, (unsigned char)*path < 0x20 ? '_' : *path);
    }
}

void download_get(struct exchange *x)
{
    auto_free char *path = routes_need_path(x, "path");
    auto_str struct str extra = STR_INIT;
    struct runner_error err = ERROR_INIT;
    struct contents c;
    const char *slash;

    if (path == NULL)
        return;
    if (contents_open(&c, path, &err) < 0) {
        reply_fail(x, &err);
    } else {
        slash = strrchr(path, '/');
        str_add(&extra, "Content-Disposition: attachment; filename=\"");
        add_file_name(&extra, slash == NULL ? path : slash + 1);
        str_add(&extra, "\"\r\n");
        reply_open(x, 200, "application/octet-stream", c.length, str_text(&extra));
        contents_send(&c, x);
        reply_close(x);
    }
    contents_done(&c);
}

static void send_text(struct exchange *x, const struct str *text)
{
    reply_data(x, text->ptr, text->len);
}

static void begin_part(struct str *part, const struct bulk *b, const char *name, const char *path, const char *type,
                       int64_t length)
{
    str_addf(part, "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"", b->boundary, name);
    add_file_name(part, path);
    str_addf(part, "\"\r\nContent-Type: %s\r\nContent-Length: %lld\r\n\r\n", type, (long long)length);
}

static void send_error_part(const struct bulk *b, const char *path, const struct runner_error *err)
{
    auto_str struct str json = STR_INIT, part = STR_INIT;
    bool is_missing = err->code == RUNNER_E_NOTFOUND;

    json_open(&json, NULL, '{');
    json_add_text(&json, "message", err->message);
    json_add_int(&json, "statusCode", is_missing ? 404 : err->code == RUNNER_E_INVALID ? 400 : 500);
    json_add_text(&json, "code",
                  is_missing                      ? "NOT_FOUND"
                  : err->code == RUNNER_E_INVALID ? "BAD_REQUEST"
                                                  : "INTERNAL_SERVER_ERROR");
    json_close(&json, '}');
    begin_part(&part, b, "error", path, "application/json", (int64_t)json.len);
    str_add_mem(&part, json.ptr, json.len);
    str_add(&part, "\r\n");
    send_text(b->x, &part);
}

/* path: as the client named it, which is how it finds the part again. */
static void send_part(const struct bulk *b, const char *path)
{
    auto_str struct str part = STR_INIT;
    auto_free char *expanded = routes_expand(path);
    struct runner_error err = ERROR_INIT;
    struct contents c;

    if (contents_open(&c, expanded, &err) < 0) {
        send_error_part(b, path, &err);
    } else {
        begin_part(&part, b, "file", path, "application/octet-stream", c.length);
        send_text(b->x, &part);
        contents_send(&c, b->x);
        reply_data(b->x, "\r\n", 2);
    }
    contents_done(&c);
}

static bool bulk_begin(struct bulk *b, struct exchange *x)
{
    auto_free char *type = NULL;
    unsigned char random[16];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        reply_error(x, 500, "INTERNAL_SERVER_ERROR", "no random bytes");
        return false;
    }
    b->x = x;
    (void)snprintf(b->boundary, sizeof b->boundary, "part-");
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(b->boundary + 5 + 2 * i, 3, "%02x", random[i]);
    type = mem_printf("multipart/form-data; boundary=%s", b->boundary);
    reply_open(x, 200, type, -1, NULL);
    return true;
}

void download_bulk(struct exchange *x)
{
    auto_str struct str end = STR_INIT;
    struct bulk b;
    auto_json struct json *body = exchange_json(x);
    const struct json *paths = json_get(body, "paths");
    int n = 0;

    if (body == NULL)
        return;
    for (const struct json *p = paths == NULL ? NULL : paths->first; p != NULL; p = p->next)
        n += p->type == JSON_STRING && *p->text != '\0' ? 1 : BULK_MAX + 1;
    if (paths == NULL || paths->type != JSON_ARRAY || n < 1 || n > BULK_MAX) {
        reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: paths is not a list of 1 to %d paths",
                    BULK_MAX);
        return;
    }
    if (!bulk_begin(&b, x))
        return;
    for (const struct json *p = paths->first; p != NULL; p = p->next)
        send_part(&b, p->text);
    str_addf(&end, "--%s--\r\n", b.boundary);
    send_text(x, &end);
    reply_close(x);
}
