#include "core/http/head.h"

#include <string.h>
#include <strings.h>

#define BAD(why) (*ret_why = (why), HEAD_BAD)

static const struct {
    const char *text;
    enum head_name name;
} names[] = {
    {"te", HEAD_HOP},
    {"host", HEAD_HOST},
    {"upgrade", HEAD_UPGRADE},
    {"connection", HEAD_CONNECTION},
    {"keep-alive", HEAD_HOP},
    {"authorization", HEAD_AUTHORIZATION},
    {"content-length", HEAD_CONTENT_LENGTH},
    {"x-forwarded-for", HEAD_FORWARDED_FOR},
    {"proxy-connection", HEAD_HOP},
    {"transfer-encoding", HEAD_TRANSFER_ENCODING},
    {"proxy-authenticate", HEAD_HOP},
    {"proxy-authorization", HEAD_HOP},
    {"x-daytona-authorization", HEAD_RUNNER_AUTHORIZATION},
};

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

static enum head_name name_of(const struct phr_header *field)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_word(field->name, field->name_len, names[i].text))
            return names[i].name;
    return HEAD_OTHER;
}

const struct phr_header *head_find(const struct head *head, enum head_name name)
{
    for (size_t i = 0; i < head->n; i++)
        if (head->name[i] == name)
            return &head->field[i];
    return NULL;
}

bool head_is_method(const struct head *head, const char *method)
{
    return strlen(method) == head->method_len && memcmp(head->method, method, head->method_len) == 0;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return true;
    return false;
}

/* Names every field, cuts blanks off the values' ends. */
static int fields_vet(struct head *head, const char **ret_why)
{
    for (size_t i = 0; i < head->n; i++) {
        struct phr_header *field = &head->field[i];
        if (field->name == NULL)
            return BAD("a header is folded");
        if (field->name_len == 0)
            return BAD("a header has no name");
        while (field->value_len > 0 && strchr(" \t", field->value[field->value_len - 1]) != NULL)
            field->value_len--;
        if (has_control(field->value, field->value_len))
            return BAD("a header has a control character");
        head->name[i] = (uint8_t)name_of(field);
        head->is_dropped[i] =
            head->name[i] == HEAD_HOP || head->name[i] == HEAD_CONNECTION || head->name[i] == HEAD_UPGRADE;
    }
    return 0;
}

static void drop_named(struct head *head, const char *word, size_t len)
{
    for (size_t i = 0; i < head->n; i++)
        if (head->field[i].name_len == len && strncasecmp(head->field[i].name, word, len) == 0 &&
            head->name[i] != HEAD_CONTENT_LENGTH && head->name[i] != HEAD_TRANSFER_ENCODING &&
            head->name[i] != HEAD_HOST)
            head->is_dropped[i] = true;
}

static void connection_words(struct head *head, const struct phr_header *field)
{
    const char *at = field->value, *end = at + field->value_len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        const char *next = comma != NULL ? comma + 1 : end;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (is_word(at, (size_t)(stop - at), "close"))
            head->has_close = true;
        else if (is_word(at, (size_t)(stop - at), "upgrade"))
            head->has_upgrade = head_find(head, HEAD_UPGRADE) != NULL;
        else
            drop_named(head, at, (size_t)(stop - at));
        at = next;
    }
}

static int length_vet(struct head *head, const struct phr_header *field, const char **ret_why)
{
    uint64_t length = 0;

    if (head->body == BODY_LENGTH)
        return BAD("Content-Length stands twice");
    if (field->value_len == 0 || field->value_len > 18)
        return BAD("Content-Length is not a number");
    for (size_t i = 0; i < field->value_len; i++) {
        if (field->value[i] < '0' || field->value[i] > '9')
            return BAD("Content-Length is not a number");
        length = length * 10 + (uint64_t)(field->value[i] - '0');
    }
    head->body = BODY_LENGTH;
    head->length = length;
    return 0;
}

/* Connection's words and the framing; head->body holds what it is without any. */
static int framing_vet(struct head *head, const char **ret_why)
{
    bool has_encoding = false;

    for (size_t i = 0; i < head->n; i++) {
        const struct phr_header *field = &head->field[i];
        if (head->name[i] == HEAD_CONNECTION) {
            connection_words(head, field);
        } else if (head->name[i] == HEAD_CONTENT_LENGTH) {
            if (length_vet(head, field, ret_why) < 0)
                return HEAD_BAD;
        } else if (head->name[i] == HEAD_TRANSFER_ENCODING) {
            if (has_encoding || !is_word(field->value, field->value_len, "chunked"))
                return BAD("Transfer-Encoding is other than 'chunked'");
            has_encoding = true;
        }
    }
    if (has_encoding && (head->body == BODY_LENGTH || head->minor < 1))
        return BAD("Transfer-Encoding beside Content-Length or in HTTP/1.0");
    if (has_encoding)
        head->body = BODY_CHUNKED;
    return 0;
}

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= 'A' && text[i] <= 'Z') &&
            !(text[i] >= '0' && text[i] <= '9') && (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
            return false;
    return len > 0;
}

static int request_vet(struct head *head, const char **ret_why)
{
    int hosts = 0;

    if (!is_token(head->method, head->method_len) || head->method_len > 32)
        return BAD("the method is not a word");
    if (head_is_method(head, "CONNECT"))
        return BAD("CONNECT is not served");
    for (size_t i = 0; i < head->n; i++)
        hosts += head->name[i] == HEAD_HOST;
    if (hosts > 1 || (hosts == 0 && head->minor >= 1))
        return BAD("a request has exactly one Host");
    return 0;
}

/* "http://host/path" is asked of a proxy; the path counts, and a bare authority means "/". */
static int target_vet(struct head *head, const char **ret_why)
{
    const char *end = head->target + head->target_len;
    const char *at = head->target;

    if (head->target_len > 0 && *at == '/')
        return 0;
    if (head->target_len > 7 && strncasecmp(at, "http://", 7) == 0)
        at += 7;
    else if (head->target_len > 8 && strncasecmp(at, "https://", 8) == 0)
        at += 8;
    else
        return BAD("the target is not a path");
    while (at < end && *at != '/' && *at != '?')
        at++;
    head->target = at < end && *at == '/' ? at : "/";
    head->target_len = at < end && *at == '/' ? (size_t)(end - at) : 1;
    return at < end && *at == '?' ? BAD("the target has no path") : 0;
}

static int status_of(int parsed, const struct head *head, size_t len, const char **ret_why)
{
    if (parsed == -2 && len <= HEAD_MAX)
        return HEAD_PARTIAL;
    if (parsed == -2 || parsed > HEAD_MAX || (parsed > 0 && head->n > HEAD_FIELDS_MAX)) {
        *ret_why = "the request head is too large";
        return HEAD_LARGE;
    }
    return parsed < 0 ? BAD("it is not HTTP") : 0;
}

int head_parse_request(struct head *head, const char *data, size_t len, size_t seen, const char **ret_why)
{
    int parsed, status;

    head->n = HEAD_FIELDS_MAX + 1;
    head->has_close = head->has_upgrade = false;
    head->body = BODY_NONE;
    parsed = phr_parse_request(data, len, &head->method, &head->method_len, &head->target, &head->target_len,
                               &head->minor, head->field, &head->n, seen);
    status = status_of(parsed, head, len, ret_why);
    if (status < 0)
        return status;
    head->len = (size_t)parsed;
    if (fields_vet(head, ret_why) < 0 || framing_vet(head, ret_why) < 0 || request_vet(head, ret_why) < 0)
        return HEAD_BAD;
    return target_vet(head, ret_why);
}

int head_parse_response(struct head *head, const char *data, size_t len, size_t seen, const char **ret_why)
{
    int parsed, status;

    head->n = HEAD_FIELDS_MAX + 1;
    head->has_close = head->has_upgrade = false;
    head->body = BODY_EOF;
    parsed = phr_parse_response(data, len, &head->minor, &head->status, &head->reason, &head->reason_len, head->field,
                                &head->n, seen);
    status = status_of(parsed, head, len, ret_why);
    if (status < 0)
        return status;
    head->len = (size_t)parsed;
    if (head->status < 100 || head->status > 999)
        return BAD("the status is not one");
    return fields_vet(head, ret_why) < 0 || framing_vet(head, ret_why) < 0 ? HEAD_BAD : 0;
}
