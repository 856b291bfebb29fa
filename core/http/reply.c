#include "core/http/reply.h"

#include <string.h>
#include <time.h>
#include <sys/time.h>

#include "core/util/json.h"
#include "core/util/recoverable.h"

static const struct {
    int status;
    const char *reason, *code, *prefix;
} statuses[] = {
    {200, "OK", "", ""},
    {201, "Created", "", ""},
    {202, "Accepted", "", ""},
    {204, "No Content", "", ""},
    {400, "Bad Request", "BAD_REQUEST", "bad request: "},
    {401, "Unauthorized", "UNAUTHORIZED", "unauthorized: "},
    {403, "Forbidden", "FORBIDDEN", "forbidden: "},
    {404, "Not Found", "NOT_FOUND", "not found: "},
    {408, "Request Timeout", "REQUEST_TIMEOUT", "request timeout: "},
    {409, "Conflict", "CONFLICT", "conflict: "},
    {410, "Gone", "GONE", "gone: "},
    {413, "Content Too Large", "CONTENT_TOO_LARGE", "content too large: "},
    {422, "Unprocessable Entity", "UNPROCESSABLE_ENTITY", "unprocessable entity: "},
    {431, "Request Header Fields Too Large", "HEADER_TOO_LARGE", "header too large: "},
    {500, "Internal Server Error", "INTERNAL_SERVER_ERROR", ""},
    {501, "Not Implemented", "NOT_IMPLEMENTED", "not implemented: "},
    {502, "Bad Gateway", "BAD_GATEWAY", "bad gateway: "},
    {503, "Service Unavailable", "SERVICE_UNAVAILABLE", "service unavailable: "},
    {504, "Gateway Timeout", "GATEWAY_TIMEOUT", "gateway timeout: "},
};

static size_t status_index(int status)
{
    size_t i = 0;

    while (i < ARRAY_LEN(statuses) && statuses[i].status != status)
        i++;
    return i;
}

const char *reply_reason(int status)
{
    size_t i = status_index(status);

    return i < ARRAY_LEN(statuses) ? statuses[i].reason : "Error";
}

const char *reply_code(int status)
{
    size_t i = status_index(status);

    return i < ARRAY_LEN(statuses) ? statuses[i].code : "";
}

const char *reply_prefix(int status)
{
    size_t i = status_index(status);

    return i < ARRAY_LEN(statuses) ? statuses[i].prefix : "";
}

int reply_status(int code)
{
    switch (code) {
    case RUNNER_E_INVALID:
        return 400;
    case RUNNER_E_DENIED:
        return 401;
    case RUNNER_E_NOTFOUND:
        return 404;
    case RUNNER_E_TIMEOUT:
        return 408;
    case RUNNER_E_EXISTS:
    case RUNNER_E_BUSY:
    case RUNNER_E_NOSPACE: /* of the host's capacity; a full file system is recoverable, see reply_add_error() */
        return 409;
    case RUNNER_E_NOTSUP:
        return 501;
    default:
        return 500;
    }
}

void reply_add_time(struct str *out, int64_t unix_us)
{
    time_t seconds = (time_t)(unix_us / 1000000);
    char text[32];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        text[0] = '\0';
    str_addf(out, "%s.%06dZ", text, (int)(unix_us % 1000000));
}

static int64_t now_us(void)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    return (int64_t)now.tv_sec * 1000000 + now.tv_usec;
}

void reply_add_error(struct str *out, const struct reply_error *error, int *ret_status)
{
    auto_str struct str inner = STR_INIT, time_text = STR_INIT;
    auto_free char *path = mem_dup_n(error->path, error->path_len);
    auto_free char *method = mem_dup_n(error->method, error->method_len);
    /* 422: that a pull failed, once and for all; of another status the API takes that it is still to come. */
    bool recoverable = error->status != 422 && recoverable_is(error->message);
    const char *code = recoverable ? "BAD_REQUEST" : error->code;

    *ret_status = recoverable ? 400 : error->status;
    if (recoverable)
        recoverable_add(&inner, error->message);
    reply_add_time(&time_text, now_us());
    json_open(out, NULL, '{');
    json_add_int(out, "statusCode", *ret_status);
    json_add_text(out, "message", recoverable ? str_text(&inner) : error->message);
    if (code[0] != '\0')
        json_add_text(out, "code", code);
    json_add_text(out, "timestamp", str_text(&time_text));
    json_add_text(out, "path", path);
    if (method[0] != '\0')
        json_add_text(out, "method", method);
    json_close(out, '}');
}

void reply_add_head(struct str *out, int status, const char *content_type, size_t content_len, bool is_closing)
{
    str_addf(out, "HTTP/1.1 %d %s\r\n", status, reply_reason(status));
    if (content_type != NULL)
        str_addf(out, "Content-Type: %s\r\n", content_type);
    if (status == 503)
        str_add(out, "Retry-After: " REPLY_RETRY_AFTER "\r\n");
    str_addf(out, "Content-Length: %zu\r\n%s\r\n", content_len, is_closing ? "Connection: close\r\n" : "");
}
