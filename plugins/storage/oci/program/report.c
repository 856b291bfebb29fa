#include "plugins/storage/oci/program/report.h"

#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "core/util/json.h"
#include "core/util/num.h"

#define CALLER_MS   30000 /* he dials at once; a runner that ended meanwhile never does */
#define PROGRESS_MS 100

static struct {
    int fd;
    int64_t deadline_ms; /* 0: none */
    const char *phase;
    int64_t said_ms;
} report = {.fd = -1};

int report_open(const char *socket_path, struct runner_error *err)
{
    struct pollfd p[2] = {{.fd = REPORT_LISTEN_FD, .events = POLLIN}};
    int n;

    p[1] = (struct pollfd){.fd = pidfd_open(getppid(), 0), .events = POLLIN}; /* without him nobody dials */
    do
        n = poll(p, 2, CALLER_MS);
    while (n < 0 && errno == EINTR);
    if (p[1].fd >= 0)
        close(p[1].fd);
    if (n > 0 && p[0].revents != 0)
        report.fd = accept4(REPORT_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);
    (void)unlink(socket_path);
    close(REPORT_LISTEN_FD);
    return report.fd >= 0 ? 0 : fail(err, RUNNER_E_TIMEOUT, 0, "nobody dialled");
}

void report_remove_pid(const char *socket_path)
{
    auto_free char *pid_path = mem_dup(socket_path);
    char *end = strrchr(pid_path, '.');

    if (end != NULL && strcmp(end, ".sock") == 0) {
        memcpy(end, ".pid", sizeof ".pid");
        (void)unlink(pid_path); /* while it is locked */
    }
}

int report_fd(void)
{
    return report.fd;
}

void report_deadline(int64_t ms)
{
    report.deadline_ms = ms > 0 ? num_now_ms() + ms : 0;
}

int report_cancelled(void)
{
    char byte;
    ssize_t n = report.fd >= 0 ? recv(report.fd, &byte, 1, MSG_DONTWAIT) : -1;

    if (n >= 0 || (report.fd >= 0 && errno != EAGAIN && errno != EINTR))
        return RUNNER_E_CANCELLED;
    return report.deadline_ms != 0 && num_now_ms() >= report.deadline_ms ? RUNNER_E_TIMEOUT : 0;
}

int report_check(struct runner_error *err)
{
    int code = report_cancelled();

    if (code == 0)
        return 0;
    return fail(err, code, 0,
                code == RUNNER_E_TIMEOUT ? "the operation's time is over" : "the operation was cancelled");
}

static void say(const struct str *line)
{
    for (size_t done = 0; done < line->len;) {
        ssize_t n = send(report.fd, line->ptr + done, line->len - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* nobody listens: report_cancelled() says so */
        done += (size_t)n;
    }
}

void report_progress(const char *phase, uint64_t done_bytes, uint64_t total_bytes)
{
    bool is_new = report.phase == NULL || strcmp(report.phase, phase) != 0, is_all = done_bytes == total_bytes;
    auto_str struct str line = STR_INIT;
    int64_t now = num_now_ms();

    if (report.fd < 0 || (!is_new && !is_all && now - report.said_ms < PROGRESS_MS))
        return;
    report.phase = phase;
    report.said_ms = now;
    json_open(&line, NULL, '{');
    json_add_text(&line, "phase", phase);
    json_add_int(&line, "done", (int64_t)done_bytes);
    json_add_int(&line, "total", (int64_t)total_bytes);
    json_close(&line, '}');
    str_add_char(&line, '\n');
    say(&line);
}

void report_warning(const char *text)
{
    auto_str struct str line = STR_INIT;

    json_open(&line, NULL, '{');
    json_add_text(&line, "warning", text);
    json_close(&line, '}');
    str_add_char(&line, '\n');
    say(&line);
}

void report_result(const struct str *members)
{
    auto_str struct str line = STR_INIT;

    str_addf(&line, "{\"result\":{%s}}\n", str_text(members));
    say(&line);
}

void report_error(const struct runner_error *err)
{
    auto_str struct str line = STR_INIT;

    json_open(&line, NULL, '{');
    json_open(&line, "error", '{');
    json_add_int(&line, "code", err->code);
    json_add_bool(&line, "retry", err->retry != 0);
    json_add_text(&line, "text", err->message);
    json_close(&line, '}');
    json_close(&line, '}');
    str_add_char(&line, '\n');
    say(&line);
}
