#include "guest/daemon/head.h"

#include <string.h>
#include <strings.h>

#include "core/util/num.h"
#include "core/util/text.h"

size_t head_find(const char *data, size_t len)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);

    return end == NULL ? 0 : (size_t)(end - data) + 4;
}

void head_done(struct head *h)
{
    free(h->text);
    h->text = NULL;
}

const char *head_get(const struct head *h, const char *name)
{
    for (size_t i = 0; i < h->n_fields; i++)
        if (strcasecmp(h->fields[i].name, name) == 0)
            return h->fields[i].value;
    return NULL;
}

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != '\0') {
        list += strspn(list, ", \t");
        if (strncasecmp(list, word, len) == 0 && strchr(", \t;", list[len]) != NULL)
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

bool head_has_word(const struct head *h, const char *name, const char *word)
{
    for (size_t i = 0; i < h->n_fields; i++)
        if (strcasecmp(h->fields[i].name, name) == 0 && has_word(h->fields[i].value, word))
            return true;
    return false;
}

bool head_is_hop(const struct head *h, const char *name)
{
    static const char *const hop[] = {
        "Connection", "Keep-Alive",        "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
        "Trailer",    "Transfer-Encoding", "Upgrade"};

    for (size_t i = 0; i < ARRAY_LEN(hop); i++)
        if (strcasecmp(name, hop[i]) == 0)
            return true;
    return strcasecmp(name, "Host") != 0 && strcasecmp(name, "Content-Length") != 0 &&
           head_has_word(h, "Connection", name);
}

static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') ||
              strchr(others, *text) != NULL))
            return false;
    return true;
}

static int parse_field(char *line, struct head *h, struct runner_error *err)
{
    char *colon = strchr(line, ':');
    char *value, *end;

    if (colon == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "header line without ':'");
    *colon = '\0';
    if (!is_token(line))
        return fail(err, RUNNER_E_INVALID, 0, "malformed header name");
    if (h->n_fields == HEAD_FIELDS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d header lines", HEAD_FIELDS_MAX);
    value = colon + 1 + strspn(colon + 1, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    h->fields[h->n_fields++] = (struct head_field){line, value};
    return 0;
}

/* Splits the line off; a bare CR or LF is an error, so a line ends exactly at its CRLF. */
static char *next_line(char **rest)
{
    char *line = *rest;
    char *end = strpbrk(line, "\r\n");

    if (end == NULL || end[0] != '\r' || end[1] != '\n')
        return NULL;
    *end = '\0';
    *rest = end + 2;
    return line;
}

static int parse_fields(char *rest, struct head *h, struct runner_error *err)
{
    char *line;

    while ((line = next_line(&rest)) != NULL && *line != '\0')
        if (parse_field(line, h, err) < 0)
            return -1;
    return line == NULL ? fail(err, RUNNER_E_INVALID, 0, "bare CR or LF in the header") : 0;
}

static int parse_framing(struct head *h, struct runner_error *err)
{
    for (size_t i = 0; i < h->n_fields; i++) {
        const char *value = h->fields[i].value;
        if (strcasecmp(h->fields[i].name, "Transfer-Encoding") == 0) {
            if (h->is_chunked || strcasecmp(value, "chunked") != 0 || h->minor == 0)
                return fail(err, RUNNER_E_INVALID, 0, "unsupported Transfer-Encoding");
            h->is_chunked = true;
        } else if (strcasecmp(h->fields[i].name, "Content-Length") == 0) {
            if (h->has_length || *value < '0' || *value > '9' || !num_int(value, 0, INT64_MAX, &h->length))
                return fail(err, RUNNER_E_INVALID, 0, "malformed or repeated Content-Length");
            h->has_length = true;
        }
    }
    if (h->is_chunked && h->has_length)
        return fail(err, RUNNER_E_INVALID, 0, "both Content-Length and Transfer-Encoding");
    h->is_keep_alive =
        !head_has_word(h, "Connection", "close") && (h->minor == 1 || head_has_word(h, "Connection", "keep-alive"));
    return 0;
}

static int parse_version(const char *text, struct head *h, struct runner_error *err)
{
    if (strcmp(text, "HTTP/1.1") != 0 && strcmp(text, "HTTP/1.0") != 0)
        return fail(err, RUNNER_E_INVALID, 0, "not HTTP/1.0 or HTTP/1.1");
    h->minor = text[7] - '0';
    return 0;
}

static int parse_request_line(char *line, struct head *h, struct runner_error *err)
{
    char *target = strchr(line, ' ');
    char *version = target == NULL ? NULL : strchr(target + 1, ' ');
    char *query;

    if (version == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "malformed request line");
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line))
        return fail(err, RUNNER_E_INVALID, 0, "malformed method");
    if (*target != '/')
        return fail(err, RUNNER_E_INVALID, 0, "the request target is no path");
    if (parse_version(version, h, err) < 0)
        return -1;
    h->method = line;
    h->target = target;
    h->path = target;
    query = strchr(target, '?');
    h->query = query == NULL ? "" : query + 1;
    return 0;
}

static int parse_status_line(char *line, struct head *h, struct runner_error *err)
{
    char *status = strchr(line, ' ');
    int64_t number;

    if (status == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "malformed status line");
    *status++ = '\0';
    status[strcspn(status, " ")] = '\0';
    if (!num_int(status, 100, 599, &number))
        return fail(err, RUNNER_E_INVALID, 0, "malformed status");
    h->status = (int)number;
    return parse_version(line, h, err);
}

static int parse(const char *text, size_t len, struct head *ret, bool is_request, struct runner_error *err)
{
    struct head h = {.text = NULL};
    char *rest, *line;
    int status;

    if (memchr(text, '\0', len) != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "NUL byte in the header");
    h.text = rest = mem_dup_n(text, len);
    line = next_line(&rest);
    if (line == NULL)
        status = fail(err, RUNNER_E_INVALID, 0, "malformed first line");
    else
        status = is_request ? parse_request_line(line, &h, err) : parse_status_line(line, &h, err);
    if (status == 0)
        status = parse_fields(rest, &h, err);
    if (status == 0)
        status = parse_framing(&h, err);
    if (status < 0)
        head_done(&h);
    else
        *ret = h;
    return status;
}

int head_parse_request(const char *text, size_t len, struct head *ret, struct runner_error *err)
{
    return parse(text, len, ret, true, err);
}

int head_parse_response(const char *text, size_t len, struct head *ret, struct runner_error *err)
{
    return parse(text, len, ret, false, err);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *head_decode(const char *text, size_t len, bool plus)
{
    auto_str struct str out = STR_INIT;

    for (size_t i = 0; i < len; i++) {
        int high, low;
        if (text[i] == '+' && plus) {
            str_add_char(&out, ' ');
        } else if (text[i] != '%') {
            str_add_char(&out, text[i]);
        } else {
            high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
            low = len - i > 2 ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0)
                return NULL;
            str_add_char(&out, (char)(high * 16 + low));
            i += 2;
        }
    }
    return str_steal(&out);
}

char *head_query(const struct head *h, const char *name)
{
    const char *at = h->query;

    while (*at != '\0') {
        size_t len = strcspn(at, "&");
        size_t key_len = strcspn(at, "&=");
        auto_free char *key = head_decode(at, key_len, true);
        if (key != NULL && strcmp(key, name) == 0)
            return key_len == len ? mem_dup("") : head_decode(at + key_len + 1, len - key_len - 1, true);
        at += len;
        at += *at == '&';
    }
    return NULL;
}
