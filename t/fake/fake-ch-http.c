/* The wire: what micro-http does, with its limits and its two kinds of replies; it reads 1024 bytes at once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/num.h"
#include "t/fake/fake-ch.h"

#define CONNECTIONS_MAX 10
#define LINE_MAX_BYTES  1024
#define BODY_MAX        51200
#define DROPPED         "\nAll previous unanswered requests will be dropped.\" }"

enum part { REQUEST_LINE, HEADERS, BODY };

struct connection {
    int fd; /* 0: free */
    enum part part;
    char in[LINE_MAX_BYTES];
    size_t n_in;
    const char *method;
    char *path;
    int64_t length; /* of the body, as announced */
    bool expects;   /* 100-continue */
    struct str body;
    struct fds fds;
};
static struct connection connections[CONNECTIONS_MAX];
static int64_t stalled_until_ms; /* INT64_MAX: for ever */
static struct connection *late;  /* whose answer waits */
static struct str late_answer;

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static void send_all(const struct connection *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            (void)poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, 1000);
        else if (n < 0 && errno != EINTR)
            return;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void add_head(struct str *out, int status, const char *server, bool has_body, size_t len)
{
    str_addf(out, "HTTP/1.1 %d \r\nServer: %s\r\nConnection: keep-alive\r\n", status, server);
    if (has_body || (status != 204 && status != 100))
        str_addf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
    str_add(out, "\r\n");
}

static void reply_library(const struct connection *c, const char *text)
{
    auto_str struct str body = STR_INIT;
    auto_str struct str out = STR_INIT;

    str_addf(&body, "{ \"error\": \"%s" DROPPED, text);
    add_head(&out, 400, "Firecracker API", true, body.len);
    str_add_mem(&out, body.ptr, body.len);
    send_all(c, out.ptr, out.len);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void fds_close(struct fds *fds)
{
    for (int i = 0; i < fds->n; i++)
        close(fds->fd[i]);
    fds->n = 0;
}

static void request_done(struct connection *c)
{
    c->part = REQUEST_LINE;
    c->length = 0;
    c->expects = false;
    free(c->path);
    c->path = NULL;
    str_clear(&c->body);
    fds_close(&c->fds);
}

static void connection_close(struct connection *c)
{
    request_done(c);
    close(c->fd);
    str_done(&c->body);
    if (late == c)
        late = NULL;
    memset(c, 0, sizeof *c);
}

static void connection_accept(void)
{
    static const char full[] =
        "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
        "{ \"error\": \"Too many open connections\" }";
    int fd = accept4(ch.api, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (int i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++)
        if (connections[i].fd == 0) {
            connections[i].fd = fd;
            return;
        }
    if (fd >= 0) {
        (void)send(fd, full, sizeof full - 1, MSG_NOSIGNAL);
        close(fd);
    }
}

/* ---- wishes about one call --------------------------------------------------------------------------------------- */

static const char *call_name(const char *path)
{
    return strncmp(path, "/api/v1/", 8) == 0 ? path + 8 : "";
}

static void crash_as_wished(const char *wish, const char *call)
{
    const char *number = fake_wish_for(wish, call);

    if (number != NULL)
        ch_signal_self(*number != '\0' ? (int)strtol(number, NULL, 10) : 9);
}

static void fill_big(struct reply *r)
{
    static const size_t size = 8 << 20;

    str_add(&r->body, "{\"filler\":\"");
    str_reserve(&r->body, size);
    memset(r->body.ptr + r->body.len, 'x', size);
    r->body.len += size;
    str_add(&r->body, "\"}");
    r->has_body = true;
    r->status = 200;
}

/* How late the answer is to be; -1: it is not. */
static int64_t stall_ms(const char *call)
{
    static long stalled;
    const char *wish = fake_wish_for("stall", call);
    char *times;
    int64_t ms = wish != NULL ? strtol(wish, &times, 10) : -1;

    return ms < 0 || (*times != '\0' && stalled++ >= strtol(times, NULL, 10)) ? -1 : ms;
}

/* true: the answer is dealt with. */
static bool misbehave(struct connection *c, const char *call, struct str *answer)
{
    int64_t ms = stall_ms(call);

    crash_as_wished("crash-after", call);
    if (fake_wish_for("lose", call) != NULL) {
        connection_close(c);
    } else if (fake_wish_for("cut", call) != NULL) {
        send_all(c, answer->ptr, answer->len / 2);
        connection_close(c);
    } else if (fake_wish_for("garbage", call) != NULL) {
        send_all(c, "\x16\x03 this is no HTTP\r\n\r\n", 22);
        connection_close(c);
    } else if (fake_wish_for("hang", call) != NULL) {
        stalled_until_ms = INT64_MAX;
    } else if (ms >= 0) {
        stalled_until_ms = fake_now_ms() + ms;
        late = c;
        str_clear(&late_answer);
        str_add_mem(&late_answer, answer->ptr, answer->len);
    } else {
        return false;
    }
    return true;
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

static void request_run(struct connection *c)
{
    const char *call = call_name(c->path), *text = fake_wish_for("fail", call), *status = fake_wish_for("status", call);
    bool hangs = fake_wish_for("hang", call) != NULL;
    auto_str struct str answer = STR_INIT;
    struct reply r = {.body = STR_INIT};
    bool ends = strcmp(call, "vmm.shutdown") == 0;

    crash_as_wished("crash", call);
    if (text != NULL)
        reply_fail(&r, 500, "Error from API", text, NULL);
    else if (fake_wish_for("big", call) != NULL)
        fill_big(&r);
    else if (!hangs)
        call_handle(c->method, c->path, c->length > 0 ? str_text(&c->body) : NULL, c->body.len, &c->fds, &r);
    if (status != NULL)
        r.status = (int)strtol(status, NULL, 10);
    add_head(&answer, r.status, "Cloud Hypervisor API", r.has_body, r.body.len);
    str_add_mem(&answer, str_text(&r.body), r.body.len);
    ends = ends && r.status == 200;
    str_done(&r.body);
    if (!misbehave(c, call, &answer))
        send_all(c, answer.ptr, answer.len);
    if (c->fd != 0)
        request_done(c);
    if (ends)
        ch_exit(0);
}

/* Each returns the error's text, or NULL. */
static const char *take_request_line(struct connection *c, char *line)
{
    static const char *const methods[] = {"GET", "PUT", "PATCH"};
    char *path = strchr(line, ' '), *version = path != NULL ? strchr(path + 1, ' ') : NULL;

    if (version == NULL)
        return "Invalid request.";
    *path++ = '\0';
    *version++ = '\0';
    c->method = NULL;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(line, methods[i]) == 0)
            c->method = methods[i];
    if (c->method == NULL)
        return "Invalid HTTP Method: Unsupported HTTP method.";
    if (*path == '\0')
        return "Invalid URI: Empty URI not allowed.";
    if (strcmp(version, "HTTP/1.0") != 0 && strcmp(version, "HTTP/1.1") != 0)
        return "Invalid HTTP Version: Unsupported HTTP version.";
    if (strncmp(path, "http://", 7) == 0)
        path += 7 + strcspn(path + 7, "/");
    c->path = mem_dup(path);
    c->part = HEADERS;
    return NULL;
}

static const char *take_header(struct connection *c, char *line)
{
    static char text[LINE_MAX_BYTES + 64];
    char *value = strchr(line, ':'), *name = line;
    size_t len;

    if (value == NULL) {
        (void)snprintf(text, sizeof text, "Invalid header. Reason: Header is incorrectly formatted. Key: %s", line);
        return text;
    }
    *value++ = '\0';
    name += strspn(name, " \t");
    if (strcasecmp(name, "Content-Length") == 0) {
        const char *digits = value + strspn(value, " \t");

        len = strcspn(digits, " \t");
        if (len == 0 || strspn(digits, "0123456789") != len || len > 9) {
            (void)snprintf(text, sizeof text, "Invalid header. Reason: Invalid value. Key:%s; Value:%s", line, value);
            return text;
        }
        c->length = strtol(digits, NULL, 10);
    } else if (strcasecmp(name, "Expect") == 0) {
        c->expects = strcmp(value + strspn(value, " \t"), "100-continue") == 0;
    }
    return NULL;
}

static const char *take_head_end(struct connection *c)
{
    static char text[128];

    if (c->length > BODY_MAX) {
        (void)snprintf(text, sizeof text,
                       "Request payload with size %lld is larger than the limit of %d allowed by server.",
                       (long long)c->length, BODY_MAX);
        return text;
    }
    if (c->length > 0 && c->expects) {
        auto_str struct str out = STR_INIT;

        add_head(&out, 100, "Firecracker API", false, 0);
        send_all(c, out.ptr, out.len);
    }
    c->part = BODY; /* which may be empty */
    return NULL;
}

static void drop(struct connection *c, size_t n)
{
    memmove(c->in, c->in + n, c->n_in - n);
    c->n_in -= n;
}

/* One line; false: there is none yet. */
static bool take_line(struct connection *c, const char **ret_error)
{
    static char text[LINE_MAX_BYTES + 64];
    char line[LINE_MAX_BYTES + 1];
    const char *end = memmem(c->in, c->n_in, "\r\n", 2);
    size_t len;

    if (end == NULL && c->n_in == LINE_MAX_BYTES) {
        (void)snprintf(text, sizeof text, "Invalid header. Reason: Invalid content length. Header: %.*s", (int)c->n_in,
                       c->in);
        *ret_error = c->part == REQUEST_LINE ? "Invalid request." : text;
        c->n_in = 0;
        return false;
    }
    if (end == NULL)
        return false;
    len = (size_t)(end - c->in);
    memcpy(line, c->in, len);
    line[len] = '\0';
    drop(c, len + 2);
    *ret_error = c->part == REQUEST_LINE ? take_request_line(c, line)
                 : len == 0              ? take_head_end(c)
                                         : take_header(c, line);
    return true;
}

static void take_requests(struct connection *c)
{
    const char *error = NULL;

    while (c->fd != 0 && error == NULL && stalled_until_ms == 0) {
        size_t n;

        if (c->part != BODY) {
            if (!take_line(c, &error))
                break;
            if (c->part != BODY)
                continue;
        }
        n = (size_t)c->length - c->body.len;
        n = n < c->n_in ? n : c->n_in;
        str_add_mem(&c->body, c->in, n);
        drop(c, n);
        if (c->body.len < (size_t)c->length)
            break;
        request_run(c);
    }
    if (error != NULL) {
        reply_library(c, error);
        c->n_in = 0;
        request_done(c);
    }
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void take_fds(struct connection *c, struct msghdr *message)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (c->fds.n < (int)ARRAY_LEN(c->fds.fd))
                c->fds.fd[c->fds.n++] = fd;
            else
                close(fd);
        }
    }
}

static void connection_read(struct connection *c)
{
    union {
        char bytes[CMSG_SPACE(253 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {c->in + c->n_in, sizeof c->in - c->n_in};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n > 0) {
        take_fds(c, &message);
        c->n_in += (size_t)n;
        take_requests(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        connection_close(c);
    }
}

int64_t http_wake_at_ms(void)
{
    return stalled_until_ms == INT64_MAX ? 0 : stalled_until_ms;
}

/* The answer that was held back, then what came meanwhile. */
static void stall_end(void)
{
    stalled_until_ms = 0;
    if (late != NULL)
        send_all(late, late_answer.ptr, late_answer.len);
    late = NULL;
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i].fd != 0 && connections[i].n_in > 0)
            take_requests(&connections[i]);
}

int http_poll_add(struct pollfd *set)
{
    int n = 0;

    if (ch.api < 0 || stalled_until_ms != 0)
        return 0;
    set[n++] = (struct pollfd){.fd = ch.api, .events = POLLIN};
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i].fd != 0)
            set[n++] = (struct pollfd){.fd = connections[i].fd, .events = POLLIN};
    return n;
}

void http_poll_done(const struct pollfd *set, int n)
{
    if (stalled_until_ms != 0 && fake_now_ms() >= stalled_until_ms)
        stall_end();
    for (int i = 1; i < n; i++)
        for (int k = 0; k < CONNECTIONS_MAX && set[i].revents != 0; k++)
            if (connections[k].fd == set[i].fd && connections[k].fd != 0 && stalled_until_ms == 0) {
                connection_read(&connections[k]);
                break;
            }
    if (n > 0 && set[0].revents != 0 && stalled_until_ms == 0)
        connection_accept();
}

void http_flush(void)
{
    if (late != NULL)
        send_all(late, late_answer.ptr, late_answer.len);
}
