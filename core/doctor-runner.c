/* What doctor says of the runner itself, on the machine that it runs on. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/doctor.h"
#include "core/http/listen.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define ANSWER_MS  3000
#define ANSWER_MAX 4096

/* ---- who listens there ------------------------------------------------------------------------------------------ */

/* Everything it says until it closes, is silent for too long or says too much. */
static void read_answer(int fd, struct str *ret)
{
    int64_t end = num_now_ms() + ANSWER_MS;

    while (ret->len < ANSWER_MAX) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - num_now_ms();
        char buffer[512];
        ssize_t n;

        if (left <= 0 || poll(&p, 1, (int)left) <= 0 || (n = read(fd, buffer, sizeof buffer)) <= 0)
            return;
        str_add_mem(ret, buffer, (size_t)n);
    }
}

/* The version of the runner-ch that answers at a connected socket, the caller's to free; NULL: something else does. */
static char *ask_version(int fd)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: runner\r\nConnection: close\r\n\r\n",
                      key[] = "\"version\":\"";
    auto_str struct str answer = STR_INIT;
    const char *at;

    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1)
        return NULL;
    read_answer(fd, &answer);
    at = strstr(str_text(&answer), key);
    if (at == NULL || strstr(str_text(&answer), "\"status\":\"ok\"") == NULL)
        return NULL;
    at += sizeof key - 1;
    return mem_dup_n(at, strspn(at, "0123456789.abcdefghijklmnopqrstuvwxyz-+~"));
}

static int connect_unix(const char *path)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int connected;

    if (fd < 0 || strlen(path) >= sizeof name.sun_path)
        return -1;
    memcpy(name.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0)
        return -1;
    connected = fd;
    fd = -1;
    return connected;
}

/* An address that stands for all of the machine's is asked at its loopback. */
static int connect_tcp(const struct config_listen *listen)
{
    const char *host = strcmp(listen->host, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(listen->host, "::") == 0    ? "::1"
                                                            : listen->host;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(listen->port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(listen->port)};
    bool is_v6 = inet_pton(AF_INET6, host, &v6.sin6_addr) == 1;
    auto_close int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int connected;

    if (fd < 0 || (!is_v6 && inet_pton(AF_INET, host, &v4.sin_addr) != 1) ||
        connect(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, is_v6 ? sizeof v6 : sizeof v4) < 0)
        return -1;
    connected = fd;
    fd = -1;
    return connected;
}

static void say_held(const struct config_listen *listen, const struct runner_error *err, const struct finding_sink *to)
{
    auto_close int fd = listen->path != NULL ? connect_unix(listen->path) : connect_tcp(listen);
    auto_free char *version = fd >= 0 ? ask_version(fd) : NULL;
    auto_free char *fix = listen->path != NULL ? mem_printf("ss -xlp src %s", listen->path)
                                               : mem_printf("ss -tlnp sport = :%d", listen->port);

    if (version != NULL)
        finding_say(to, RUNNER_FINDING_OK, "listen", NULL, "%s: a running runner-ch %s has it", listen->text, version);
    else
        finding_say(to, RUNNER_FINDING_FAIL, "listen", fix, "%s; the command says who has it", err->message);
}

/* ---- addresses -------------------------------------------------------------------------------------------------- */

/* The runner makes the last directory of a socket's path. True: it is there, or is said to be missing or not. */
static bool has_no_directory(const struct config_listen *listen, const struct finding_sink *to)
{
    auto_free char *dir = mem_dup(listen->path), *above = NULL, *fix = NULL;
    char *slash = strrchr(dir, '/');

    if (slash == dir)
        return false;
    *slash = '\0';
    if (access(dir, F_OK) == 0)
        return false;
    above = mem_dup(dir);
    slash = strrchr(above, '/');
    slash[slash == above] = '\0';
    fix = mem_printf("install -d -o %u %s", (unsigned)getuid(), dir);
    if (access(above, W_OK | X_OK) == 0)
        finding_say(to, RUNNER_FINDING_OK, "listen", NULL, "%s: free", listen->text);
    else
        finding_say(to, RUNNER_FINDING_FAIL, "listen", fix, "%s: the directory '%s' cannot be made: %s", listen->text,
                    dir, strerrordesc_np(errno));
    return true;
}

static void say_address(const struct config_listen *listen, const struct finding_sink *to)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *fix = NULL;
    struct listener listener;

    if (listen->path != NULL && has_no_directory(listen, to))
        return;
    if (listener_open(listen->text, &listener, &err) == 0) {
        listener_close(&listener);
        finding_say(to, RUNNER_FINDING_OK, "listen", NULL, "%s: free", listen->text);
    } else if (err.sys_errno == EADDRINUSE || err.code == RUNNER_E_EXISTS) {
        say_held(listen, &err, to);
    } else if (err.sys_errno == EACCES && listen->path == NULL) {
        fix = mem_printf("echo %d >/proc/sys/net/ipv4/ip_unprivileged_port_start", listen->port);
        finding_say(to, RUNNER_FINDING_FAIL, "listen", fix, "%s", err.message);
    } else {
        finding_say(to, RUNNER_FINDING_FAIL, "listen", listen->path == NULL ? "ip -brief address" : NULL, "%s",
                    err.message);
    }
}

/* ---- time-outs -------------------------------------------------------------------------------------------------- */

/* One that is inside another can only count if it is the shorter one. */
static void say_timeouts(const struct config_timeouts *t, const struct finding_sink *to)
{
    if (t->ready_ms > t->create_ms || t->ready_ms > t->start_ms)
        finding_say(to, RUNNER_FINDING_WARN, "timeouts", NULL,
                    "timeouts.ready (%" PRId64 " s) is longer than the create (%" PRId64 " s) or start (%" PRId64
                    " s) that it is a part of",
                    t->ready_ms / 1000, t->create_ms / 1000, t->start_ms / 1000);
    else if (t->stop_grace_ms >= t->stop_ms)
        finding_say(to, RUNNER_FINDING_WARN, "timeouts", NULL,
                    "timeouts.stop_grace (%" PRId64 " s) leaves nothing of timeouts.stop (%" PRId64 " s) for the kill",
                    t->stop_grace_ms / 1000, t->stop_ms / 1000);
    else
        finding_say(to, RUNNER_FINDING_OK, "timeouts", NULL,
                    "create %" PRId64 " s, start %" PRId64 " s, ready %" PRId64 " s, stop %" PRId64 " s",
                    t->create_ms / 1000, t->start_ms / 1000, t->ready_ms / 1000, t->stop_ms / 1000);
}

void doctor_runner(const struct config *config, const struct finding_sink *to)
{
    for (size_t i = 0; i < config->n_listen; i++)
        say_address(&config->listen[i], to);
    say_timeouts(&config->timeouts, to);
}
