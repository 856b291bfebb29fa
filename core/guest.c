#include "core/guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define REPLY_MAX (16 * 1024)

/* An attempt that gets no answer is given up and made anew: a SYN lost before the guest's network was up would be sent
 * again only after a second. Attempts get longer, so that a slow guest is heard too, by a sixteenth each: one that is cut
 * short or begins in vain costs that part of the guest's start at most. */
#define ATTEMPT_FIRST_MS 25
#define ATTEMPT_MAX_MS   1000
#define ATTEMPT_GROWTH   16
#define PAUSE_MS         5

bool guest_reply_is_whole(const char *text, size_t len)
{
    const char *body = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\ncontent-length:");
    int64_t want;

    if (body == NULL || length == NULL || length > body)
        return false;
    want = strtol(length + strlen("\r\ncontent-length:"), NULL, 10);
    return want >= 0 && (int64_t)(len - (size_t)(body + 4 - text)) >= want;
}

static int read_reply(struct runner_call *call, int fd, char *text, size_t size, struct runner_error *err)
{
    size_t len = 0;

    text[0] = '\0';
    while (len + 1 < size && !guest_reply_is_whole(text, len)) {
        ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n == 0)
            break;
        if (n > 0) {
            len += (size_t)n;
            text[len] = '\0';
        } else if (errno == EAGAIN) {
            int ready = call_wait(call, fd, POLLIN, -1);
            if (ready <= 0)
                return fail_errno(err, errno, "wait for the daemon");
        } else if (errno != EINTR) {
            return fail_errno(err, errno, "read from the daemon");
        }
    }
    return 0;
}

int guest_reply_version(const char *text, char **ret_version, struct runner_error *err)
{
    const char *body = strstr(text, "\r\n\r\n");
    auto_json struct json *json = NULL;
    const char *version;

    if (strncmp(text, "HTTP/1.", 7) != 0 || body == NULL)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "the daemon does not speak HTTP");
    body = strchr(body, '{');
    if (body == NULL ||
        json_parse(body, strrchr(body, '}') != NULL ? (size_t)(strrchr(body, '}') - body + 1) : 0, &json, err) < 0)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "the daemon's version is not JSON");
    version = json_text(json, "version", "");
    *ret_version = mem_dup_n(version, strnlen(version, GUEST_VERSION_MAX));
    return 0;
}

/* A short request: the socket's buffer takes all of it. */
static int exchange(struct runner_call *call, const char *address, const char *request, size_t len,
                    char reply[REPLY_MAX], struct runner_error *err)
{
    auto_close int fd = -1;

    if (host_dial(call->host, call, address, &fd, err) < 0)
        return -1;
    if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        return fail_errno(err, errno, "send to the daemon");
    return read_reply(call, fd, reply, REPLY_MAX, err);
}

static int ask(struct runner_call *call, const char *address, char **ret_version, struct runner_error *err)
{
    static const char request[] = "GET /version HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n";
    char reply[REPLY_MAX];

    if (exchange(call, address, request, sizeof request - 1, reply, err) < 0)
        return -1;
    return guest_reply_version(reply, ret_version, err);
}

static int daemon_address(struct host *host, const struct runner_nic *nic, char *address, size_t size,
                          struct runner_error *err)
{
    return HOST_CALL(host, RUNNER_NETWORK, network, address, nic, GUEST_DAEMON_PORT, address, size, err);
}

static int refuse_reply(char *reply, struct runner_error *err)
{
    reply[strcspn(reply, "\r\n")] = '\0';
    return fail(err, RUNNER_E_UNREACHABLE, 0, "the daemon answered '%.80s'", reply);
}

int guest_tell_token(struct runner_call *call, const struct runner_nic *nic, const char *token,
                     struct runner_error *err)
{
    auto_str struct str body = STR_INIT, request = STR_INIT;
    char address[80], reply[REPLY_MAX];
    int status;

    if (daemon_address(call->host, nic, address, sizeof address, err) < 0)
        return -1;
    json_open(&body, NULL, '{');
    json_add_text(&body, "token", token);
    json_close(&body, '}');
    str_addf(&request,
             "POST /init HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             body.len, str_text(&body));
    status = exchange(call, address, request.ptr, request.len, reply, err);
    explicit_bzero(body.ptr, body.len);
    explicit_bzero(request.ptr, request.len);
    if (status == 0 && (strncmp(reply, "HTTP/1.", 7) != 0 || strncmp(reply + 8, " 200", 4) != 0))
        return refuse_reply(reply, err);
    return status;
}

int guest_wait_ready(struct runner_call *call, const struct runner_nic *nic, int exit_fd, char **ret_version,
                     struct runner_error *err)
{
    struct runner_error attempt_err = ERROR_INIT;
    int64_t attempt_ms = ATTEMPT_FIRST_MS;
    char address[80];

    if (daemon_address(call->host, nic, address, sizeof address, err) < 0)
        return -1;
    for (;;) {
        struct runner_call attempt;
        int status;

        call_init_child(&attempt, call, attempt_ms);
        if (ask(&attempt, address, ret_version, &attempt_err) == 0)
            return 0;
        attempt_ms += attempt_ms / ATTEMPT_GROWTH + 1;
        if (attempt_ms > ATTEMPT_MAX_MS)
            attempt_ms = ATTEMPT_MAX_MS;
        status = call_wait(call, exit_fd, POLLIN, PAUSE_MS);
        if (status > 0)
            return fail(err, RUNNER_E_UNREACHABLE, 0, "the virtual machine ended before its daemon answered");
        if (status < 0 && errno == ETIMEDOUT)
            return fail(err, RUNNER_E_TIMEOUT, 0, "timeout waiting for daemon to start (last: %.200s)",
                        attempt_err.message);
        if (status < 0)
            return fail_errno(err, errno, "wait for the daemon");
    }
}
