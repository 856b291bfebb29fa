/* Of check-transport: what can be dialled. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void check_dial(void)
{
    static const char *const bad[] = {
        "",        "tcp:",          "tcp:127.0.0.1",       "tcp:127.0.0.1:0", "tcp:host:80",
        "udp:1:2", "unix:relative", "tcp:127.0.0.1:70000", "bind:",           "bind:127.0.0.1:0"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = -1;
    char *address, *long_dir = keep(mem_dup(dir));
    struct runner_call *call = host_call(PATIENCE_MS, -1);

    if (bind(listener, (struct sockaddr *)&in, sizeof in) < 0 ||
        getsockname(listener, (struct sockaddr *)&in, &len) < 0)
        tap_note("no port");
    address = keep(mem_printf("tcp:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address) && err.retry == 1,
           "dial: refused, as nobody listens");
    tap_ok(listen(listener, 1) == 0 && ops->dial(self, call, address, &fd, &err) == 0 && fd >= 0, "dial: %s", address);
    cleanup_close(&fd);
    address = keep(mem_printf("bind:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_BUSY, address),
           "dial: %s is refused, as somebody listens", address);
    close(listener);
    tap_ok(ops->dial(self, call, address, &fd, &err) == 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0 &&
               strtol(strrchr(address, ':') + 1, NULL, 10) == ntohs(in.sin_port),
           "dial: %s, when nobody does", address);
    cleanup_close(&fd);
    address = keep(mem_printf("unix:%s", at("none.sock")));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address),
           "dial: no such socket");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        tap_ok(ops->dial(self, call, bad[i], &fd, &err) < 0 && err.code == RUNNER_E_INVALID,
               "dial: '%s' is refused: %s", bad[i], err.message);
    while (strlen(long_dir) < 150)
        long_dir = keep(mem_printf("%s/a-long-directory-name", long_dir));
    (void)RUN(.kind = RUNNER_MKDIR, .path = long_dir, .number = 0700, .flags = RUNNER_S_PARENTS);
    {
        struct runner_fd listen_fd = {RUNNER_FD_LISTEN, 3, keep(mem_printf("%s/s", long_dir))};
        struct runner_spawn how = {.size = sizeof how, .pid_path = at("l.pid"), .n_fds = 1, .fds = &listen_fd};

        tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) == 0 &&
                   ops->dial(self, host_call(PATIENCE_MS, -1), keep(mem_printf("unix:%s", listen_fd.path)), &fd,
                             &err) == 0,
               "listen and dial at a path of %zu bytes", strlen(listen_fd.path));
        cleanup_close(&fd);
        (void)RUN(.kind = RUNNER_KILL, .path = at("l.pid"), .number = SIGKILL);
    }
}

/* ---- FIFOs ------------------------------------------------------------------------------------------------------- */
int dial(const char *scheme, const char *rest)
{
    int fd = -1;

    error_clear(&err);
    (void)ops->dial(self, host_call(PATIENCE_MS, -1), keep(mem_printf("%s:%s", scheme, rest)), &fd, &err);
    return fd;
}

/* Reads until the text has come. */
static bool comes(int fd, const char *text)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char buffer[256] = "";
    size_t len = 0;

    while (len < sizeof buffer - 1 && strstr(buffer, text) == NULL && poll(&p, 1, PATIENCE_MS) == 1) {
        ssize_t n = read(fd, buffer + len, sizeof buffer - 1 - len);

        if (n <= 0)
            break;
        len += (size_t)n;
        buffer[len] = '\0';
    }
    if (strstr(buffer, text) == NULL)
        tap_note("no '%s' came, but '%s'", text, buffer);
    return strstr(buffer, text) != NULL;
}

void check_fifo(void)
{
    const char *path = at("events"), *pid_path = at("f.pid"), *more = at("more"), *script;
    struct runner_fd fd = {RUNNER_FD_FIFO, 3, path};
    struct runner_spawn how = {.size = sizeof how, .pid_path = pid_path, .n_fds = 1, .fds = &fd};
    struct runner_step step = {.kind = RUNNER_SPAWN, .spawn = &how};
    int first, second;

    /* It writes one line at once, and another whenever one comes through the second FIFO. */
    script = "echo one >&3; while read -r line; do echo \"$line\" >&3; done <\"$0\"";
    step.argv = (const char *const[]){"/bin/sh", "-c", script, more, NULL};
    tap_ok(mkfifo(more, 0600) == 0 && run(step) == 0 && mode_of(path) == 0600, "SPAWN with a FIFO");
    first = open(more, O_WRONLY);
    second = dial("fifo", path);
    tap_ok(second >= 0 && (fcntl(second, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == (O_NONBLOCK | O_RDONLY) &&
               (fcntl(second, F_GETFD) & FD_CLOEXEC) != 0 && comes(second, "one\n"),
           "dial fifo: what was written before is there");
    close(second);
    tap_ok(write(first, "two\n", 4) == 4 && (second = dial("fifo", path)) >= 0 && comes(second, "two\n") &&
               RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 0,
           "fifo: a reader leaves, the process goes on, and the next one reads");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    tap_ok(poll(&(struct pollfd){.fd = second, .events = POLLIN}, 1, PATIENCE_MS) == 1 &&
               read(second, (char[4]){0}, 4) == 0,
           "fifo: the end of the process is the end of the stream");
    close(second);
    close(first);
    step.argv = (const char *const[]){"/no/such/program", NULL};
    tap_ok(run(step) < 0 && says(RUNNER_E_NOTFOUND, "/no/such/program") && !is_there(path),
           "SPAWN with a FIFO: a stale one is replaced, and goes when there will be no process");
    (void)RUN(.kind = RUNNER_WRITE, .path = path, .data = "x", .len = 1, .number = 0600);
    tap_ok(run(step) < 0 && says(RUNNER_E_EXISTS, path) && is_there(path), "SPAWN: a FIFO does not replace a file");
    tap_ok(dial("fifo", path) < 0 && says(RUNNER_E_INVALID, path), "dial fifo: a file is none");
    tap_ok(dial("fifo", at("none")) < 0 && says(RUNNER_E_NOTFOUND, at("none")) && dial("fifo", at("none/x")) < 0 &&
               says(RUNNER_E_NOTFOUND, at("none")),
           "dial fifo: absent");
    tap_ok(symlink(more, at("fifo-link")) == 0 && dial("fifo", at("fifo-link")) < 0 &&
               says(RUNNER_E_INVALID, "is a link"),
           "dial fifo: a link is not followed");
}
