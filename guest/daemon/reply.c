#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "guest/daemon/connection.h"

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{101, "Switching Protocols"},
                   {206, "Partial Content"},
                   {301, "Moved Permanently"},
                   {302, "Found"},
                   {303, "See Other"},
                   {304, "Not Modified"},
                   {307, "Temporary Redirect"},
                   {308, "Permanent Redirect"},
                   {401, "Unauthorized"},
                   {405, "Method Not Allowed"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {504, "Gateway Timeout"},
                   {200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {400, "Bad Request"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {410, "Gone"},
                   {413, "Content Too Large"},
                   {431, "Header Too Large"},
                   {502, "Bad Gateway"},
                   {501, "Not Implemented"},
                   {500, "Internal Server Error"},
                   {503, "Service Unavailable"}};

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Status";
}

void reply_open(struct exchange *x, int status, const char *type, int64_t length, const char *extra)
{
    struct evbuffer *out = connection_output(x);
    bool has_body = status >= 200 && status != 204 && status != 304;

    x->is_replied = true;
    x->is_reply_chunked = has_body && length < 0 && x->head.minor == 1;
    if (has_body && length < 0 && x->head.minor == 0)
        x->head.is_keep_alive = false;
    if (!x->intake.is_done && !x->is_tunnel && x->on_data == NULL)
        x->head.is_keep_alive = false; /* nobody reads the rest of the request */
    (void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", status, reason(status));
    if (type != NULL)
        (void)evbuffer_add_printf(out, "Content-Type: %s\r\n", type);
    if (has_body && length >= 0)
        (void)evbuffer_add_printf(out, "Content-Length: %lld\r\n", (long long)length);
    if (x->is_reply_chunked)
        (void)evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (status != 101)
        (void)evbuffer_add_printf(out, "Connection: %s\r\n", x->head.is_keep_alive ? "keep-alive" : "close");
    (void)evbuffer_add_printf(out, "%s\r\n", extra == NULL ? "" : extra);
    connection_touch(x);
}

static bool is_head(const struct exchange *x)
{
    return strcmp(x->head.method, "HEAD") == 0;
}

void reply_data(struct exchange *x, const void *data, size_t len)
{
    struct evbuffer *out = connection_output(x);

    if (len == 0 || is_head(x))
        return;
    if (x->is_reply_chunked)
        (void)evbuffer_add_printf(out, "%zx\r\n", len);
    (void)evbuffer_add(out, data, len);
    if (x->is_reply_chunked)
        (void)evbuffer_add(out, "\r\n", 2);
    connection_touch(x);
}

void reply_move(struct exchange *x, struct evbuffer *data)
{
    struct evbuffer *out = connection_output(x);
    size_t len = evbuffer_get_length(data);

    if (len == 0 || is_head(x)) {
        (void)evbuffer_drain(data, len);
        return;
    }
    if (x->is_reply_chunked)
        (void)evbuffer_add_printf(out, "%zx\r\n", len);
    (void)evbuffer_add_buffer(out, data);
    if (x->is_reply_chunked)
        (void)evbuffer_add(out, "\r\n", 2);
    connection_touch(x);
}

void reply_file(struct exchange *x, int fd, int64_t length)
{
    struct evbuffer *out = connection_output(x);

    if (length == 0 || is_head(x)) {
        close(fd);
        return;
    }
    if (x->is_reply_chunked)
        (void)evbuffer_add_printf(out, "%llx\r\n", (unsigned long long)length);
    if (evbuffer_add_file(out, fd, 0, length) < 0) {
        close(fd);
        reply_abort(x);
        return;
    }
    if (x->is_reply_chunked)
        (void)evbuffer_add(out, "\r\n", 2);
    connection_touch(x);
}

void reply_close(struct exchange *x)
{
    if (x->is_reply_chunked && !is_head(x))
        (void)evbuffer_add(connection_output(x), "0\r\n\r\n", 5);
    x->is_reply_done = true;
    connection_reply_done(x);
}

static void reply_whole(struct exchange *x, int status, const char *type, const char *data, size_t len)
{
    reply_open(x, status, type, (int64_t)len, NULL);
    reply_data(x, data, len);
    reply_close(x);
}

void reply_json(struct exchange *x, int status, const struct str *json)
{
    reply_whole(x, status, "application/json; charset=utf-8", str_text(json), json->len);
}

void reply_empty(struct exchange *x, int status)
{
    reply_whole(x, status, NULL, "", 0);
}

static void add_timestamp(struct str *s)
{
    struct timespec now;
    struct tm tm;
    char text[40];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    str_addf(s, "%s.%06ldZ", text, now.tv_nsec / 1000);
}

void reply_error(struct exchange *x, int status, const char *code, const char *format, ...)
{
    auto_str struct str body = STR_INIT, message = STR_INIT, timestamp = STR_INIT;
    auto_free char *path = NULL;
    va_list args;

    va_start(args, format);
    str_addv(&message, format, args);
    va_end(args);
    add_timestamp(&timestamp);
    path = mem_dup_n(x->head.path, strcspn(x->head.path, "?"));
    json_open(&body, NULL, '{');
    json_add_int(&body, "statusCode", status);
    json_add_text(&body, "message", str_text(&message));
    if (code != NULL)
        json_add_text(&body, "code", code);
    json_add_text(&body, "timestamp", str_text(&timestamp));
    json_add_text(&body, "path", path);
    json_add_text(&body, "method", x->head.method);
    json_close(&body, '}');
    reply_json(x, status, &body);
}

void reply_fail(struct exchange *x, const struct runner_error *err)
{
    static const struct {
        int error, status;
        const char *code, *prefix;
    } map[] = {{RUNNER_E_INVALID, 400, "BAD_REQUEST", "bad request: "},
               {RUNNER_E_NOTFOUND, 404, "NOT_FOUND", "not found: "},
               {RUNNER_E_EXISTS, 409, "CONFLICT", "conflict: "},
               {RUNNER_E_BUSY, 409, "CONFLICT", "conflict: "},
               {RUNNER_E_TIMEOUT, 408, "REQUEST_TIMEOUT", "request timeout: "},
               {RUNNER_E_NOTSUP, 501, "NOT_IMPLEMENTED", ""}};

    if (err->sys_errno == EACCES || err->sys_errno == EPERM) {
        reply_error(x, 403, "FORBIDDEN", "forbidden: %s", err->message);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (map[i].error == err->code) {
            reply_error(x, map[i].status, map[i].code, "%s%s", map[i].prefix, err->message);
            return;
        }
    reply_error(x, 500, "INTERNAL_SERVER_ERROR", "%s", err->message);
}
