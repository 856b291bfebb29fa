#include "plugins/vmm/cloud-hypervisor/http.h"

#include <string.h>
#include <strings.h>

#include "core/util/error.h"
#include "core/util/num.h"

#define CAUSES_MAX 20

void http_add_request(struct str *out, const char *method, const char *action, const char *body, size_t len)
{
    str_addf(out, "%s /api/v1/%s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n", method, action);
    if (body != NULL)
        str_addf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
    str_add(out, "\r\n");
    if (body != NULL)
        str_add_mem(out, body, len);
}

/* ---- the head of a reply ---- */

/* The status of a line "HTTP/1.x NNN...", or -1. */
static int read_status(const char *line, size_t len)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return -1;
    for (int i = 9; i < 12; i++)
        if (line[i] < '0' || line[i] > '9')
            return -1;
    if (line[9] == '0' || (len > 12 && line[12] != ' '))
        return -1;
    return (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
}

static bool is_named(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

static int read_length(const char *line, size_t len, int64_t *length)
{
    const char *start = line + strlen("content-length:"), *end = line + len;
    auto_free char *text = NULL;
    int64_t value;

    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    text = mem_dup_n(start, (size_t)(end - start));
    if (!num_int(text, 0, HTTP_BODY_MAX, &value) || (*length >= 0 && *length != value))
        return -1;
    *length = value;
    return 0;
}

/* One header line; what it means is kept in *length, -1 while not said. */
static int read_header(const char *line, size_t len, int64_t *length, struct runner_error *err)
{
    if (memchr(line, ':', len) == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "HTTP: a header line without a name");
    if (is_named(line, len, "transfer-encoding"))
        return fail(err, RUNNER_E_INVALID, 0, "HTTP: a transfer coding, which is not expected here");
    if (is_named(line, len, "content-length") && read_length(line, len, length) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "HTTP: a length that is no number of at most %u bytes", HTTP_BODY_MAX);
    return 0;
}

/* 1: *ret_line is the next line, without its end, and *at is behind it. 0: it is not complete. */
static int next_line(const char *data, size_t len, size_t *at, const char **ret_line, size_t *ret_len)
{
    const char *end = memchr(data + *at, '\n', len - *at);

    if (end == NULL)
        return 0;
    *ret_line = data + *at;
    *ret_len = (size_t)(end - *ret_line);
    if (*ret_len > 0 && end[-1] == '\r')
        --*ret_len;
    *at = (size_t)(end + 1 - data);
    return 1;
}

/* One head from *at on; *at is behind it when it is complete. */
static int read_one(const char *data, size_t len, size_t *at, int *ret_status, int64_t *ret_length,
                    struct runner_error *err)
{
    const char *line;
    size_t line_len;

    *ret_length = -1;
    if (!next_line(data, len, at, &line, &line_len))
        return 0;
    *ret_status = read_status(line, line_len);
    if (*ret_status < 0)
        return fail(err, RUNNER_E_INVALID, 0, "HTTP: no status line: the peer is not Cloud Hypervisor");
    while (next_line(data, len, at, &line, &line_len)) {
        if (line_len == 0)
            return 1;
        if (read_header(line, line_len, ret_length, err) < 0)
            return -1;
    }
    return 0;
}

int http_read_head(const char *data, size_t len, struct http_reply *ret, struct runner_error *err)
{
    size_t n = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, at = 0;
    int64_t length;
    int status, seen;

    do { /* 100 and the like announce the reply */
        seen = read_one(data, n, &at, &status, &length, err);
    } while (seen > 0 && status < 200);
    if (seen == 0 && len >= HTTP_HEAD_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "HTTP: a head of more than %d bytes", HTTP_HEAD_MAX);
    if (seen > 0)
        *ret = (struct http_reply){
            .status = status, .head_len = at, .body_len = length > 0 && status != 204 ? (size_t)length : 0};
    return seen;
}

/* ---- bodies ---- */

/* Digits beyond 63 bits, outside strings, become INT64_MAX, padded with blanks. In place. */
static void clamp_numbers(char *text, size_t len)
{
    static const char most[] = "9223372036854775807";
    size_t digits = 0;
    bool is_string = false;

    for (size_t i = 0; i <= len; i++) {
        char c = i < len ? text[i] : '\0';

        if (!is_string && c >= '0' && c <= '9') {
            digits++;
            continue;
        }
        if (digits > sizeof most - 1 || (digits == sizeof most - 1 && memcmp(text + i - digits, most, digits) > 0)) {
            memset(text + i - digits, ' ', digits);
            memcpy(text + i - digits, most, sizeof most - 1);
        }
        digits = 0;
        if (is_string && c == '\\')
            i++;
        else if (c == '"')
            is_string = !is_string;
    }
}

int http_body_json(const char *body, size_t len, struct json **ret, struct runner_error *err)
{
    auto_free char *copy = mem_dup_n(body, len);

    clamp_numbers(copy, len);
    return json_parse(copy, len, ret, err) < 0 ? error_wrap(err, "reply of Cloud Hypervisor") : 0;
}

static bool add_chain(struct str *out, const struct json *chain)
{
    int n = 0;

    if (chain == NULL || chain->type != JSON_ARRAY || chain->first == NULL)
        return false;
    for (const struct json *cause = chain->first; cause != NULL; cause = cause->next)
        if (cause->type != JSON_STRING)
            return false;
    for (const struct json *cause = chain->first; cause != NULL && n < CAUSES_MAX; cause = cause->next)
        str_addf(out, "%s%s", n++ > 0 ? ": " : "", cause->text);
    return true;
}

/* Of a body like { "error": "text<newline>more" }: the text. */
static void add_plain(struct str *out, const char *body, size_t len)
{
    static const char head[] = "{ \"error\": \"";
    const char *end = body + len;

    if (len >= sizeof head - 1 && memcmp(body, head, sizeof head - 1) == 0) {
        body += sizeof head - 1;
        while (end > body && strchr("\" }\r\n", end[-1]) != NULL)
            end--;
    }
    for (; body < end && *body != '\0'; body++)
        str_add_char(out, *body);
}

void http_add_causes(struct str *out, const char *body, size_t len)
{
    auto_json struct json *chain = NULL;

    if (len == 0 || json_parse(body, len, &chain, NULL) < 0 || !add_chain(out, chain))
        add_plain(out, body, len);
    if (out->len == 0)
        str_add(out, "no reason given");
}
