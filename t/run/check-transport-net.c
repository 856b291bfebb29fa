/* Of check-transport: what can be dialled. */
#include "t/run/check-transport.h"

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/un.h>

void check_dial(void)
{
    static const char *const bad[] = {
        "",        "tcp:",          "tcp:127.0.0.1",      "tcp:127.0.0.1:0", "tcp:host:80",
        "udp:1:2", "unix:relative", "tcp:127.0.0.1:70000"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = -1;
    char *address, *long_dir = keep(mem_dup(dir));
    struct runner_call *call = host_call(5000, -1);

    if (bind(listener, (struct sockaddr *)&in, sizeof in) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&in, &len) < 0)
        tap_note("cannot listen");
    address = keep(mem_printf("tcp:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) == 0 && fd >= 0, "dial: %s", address);
    cleanup_close(&fd);
    close(listener);
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address) && err.retry == 1,
           "dial: refused");
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
                   ops->dial(self, host_call(2000, -1), keep(mem_printf("unix:%s", listen_fd.path)), &fd, &err) == 0,
               "listen and dial at a path of %zu bytes", strlen(listen_fd.path));
        cleanup_close(&fd);
        (void)RUN(.kind = RUNNER_KILL, .path = at("l.pid"), .number = SIGKILL);
    }
}
