/* Of check-transport: processes that no SPAWN started. */
#include "t/run/check-transport.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A copy of this program that listens there. */
static pid_t start_listener(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int ready[2];
    char byte;
    pid_t pid;

    if (strlen(path) >= sizeof address.sun_path || pipe(ready) < 0)
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    pid = fork();
    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)unlink(path);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0 ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        tap_note("nobody listens");
    close(ready[0]);
    return pid;
}

static bool is_alive(const char *pid_path, pid_t pid)
{
    return RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 0 && result.number == pid;
}

static bool is_dead(const char *pid_path)
{
    return RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 1 && result.number2 == -1;
}

static int adopt(const char *pid_path, const char *socket_path, const char *program)
{
    return RUN(.kind = RUNNER_ADOPT, ARGV("another", program), .path = pid_path, .to = socket_path);
}

static void check_refusals(const char *pid_path, const char *socket_path)
{
    tap_ok(adopt(pid_path, socket_path, "cloud") < 0 && says(RUNNER_E_INVALID, "not another") && !is_there(pid_path),
           "ADOPT: another program, and nothing is written: %s", err.message);
    tap_ok(adopt(pid_path, at("none.sock"), "check") == 0 && result.status == 1 && !is_there(pid_path),
           "ADOPT: no socket");
    tap_ok(adopt(pid_path, at("none/none.sock"), "check") == 0 && result.status == 1,
           "ADOPT: no directory of a socket");
}

/* A later process with the number, or that number after a reboot, is another. */
static void check_births(const char *pid_path, pid_t pid)
{
    auto_free char *text = NULL;
    char boot_id[64] = "";
    unsigned long long ticks = 0;

    (void)RUN(.kind = RUNNER_READ, .path = pid_path, .number = 200);
    text = mem_dup(result.out);
    tap_ok(sscanf(text, "%*d\nstarted %llu %36s\n", &ticks, boot_id) == 2 && ticks > 0,
           "ADOPT: the time of its start is written");
    for (int i = 0; i < 2; i++) {
        auto_free char *other = mem_printf("%d\nstarted %llu %s\n", (int)pid, ticks + (i == 0),
                                           i == 0 ? boot_id : "00000000-0000-4000-8000-000000000000");
        (void)RUN(.kind = RUNNER_WRITE, .path = pid_path, .data = other, .len = strlen(other), .number = 0600);
        tap_ok(is_dead(pid_path) && RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL) == 0 &&
                   result.status == 1 && waitpid(pid, NULL, WNOHANG) == 0,
               "ALIVE, KILL: %s is another's", i == 0 ? "the number at another time" : "the number before a reboot");
    }
    (void)RUN(.kind = RUNNER_WRITE, .path = pid_path, .data = text, .len = strlen(text), .number = 0600);
}

static void check_adopted(const char *pid_path, const char *socket_path, pid_t pid)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = pid_path};
    int watching;

    tap_ok(adopt(pid_path, socket_path, "check-tr") == 0 && result.status == 0 && result.number == pid &&
               mode_of(pid_path) == 0600,
           "ADOPT");
    tap_ok(is_alive(pid_path, pid), "ALIVE");
    tap_ok(adopt(pid_path, socket_path, "check-transport") == 0 && result.number == pid, "ADOPT: again");
    tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) < 0 && says(RUNNER_E_BUSY, "still runs") &&
               is_alive(pid_path, pid),
           "SPAWN does not take its pid file");
    check_births(pid_path, pid);
    watching = watch(pid_path);
    tap_ok(watching >= 0 && RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGTERM) == 0 && result.status == 0 &&
               has_ended(watching),
           "KILL, and the watch tells");
    cleanup_close(&watching);
    tap_ok(is_dead(pid_path) && watch(pid_path) < 0, "ALIVE: it has ended, though its parent has not asked yet");
    (void)waitpid(pid, NULL, 0);
    tap_ok(is_dead(pid_path) && adopt(pid_path, socket_path, "check") == 0 && result.status == 1,
           "ADOPT: a socket at which nobody listens any more");
    tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) == 0 && result.number != pid,
           "SPAWN takes the pid file of one that has ended");
}

void check_adopt(void)
{
    const char *pid_path = at("adopted.pid"), *socket_path = at("adopted.sock");
    size_t before = count_in("/proc/self/fd");
    pid_t pid = start_listener(socket_path);

    check_refusals(pid_path, socket_path);
    check_adopted(pid_path, socket_path, pid);
    pid = start_listener(socket_path);
    tap_ok(adopt(pid_path, socket_path, "check") < 0 && says(RUNNER_E_BUSY, pid_path),
           "ADOPT does not take the pid file of a SPAWN's process");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    tap_ok(adopt(pid_path, socket_path, "check") == 0 && is_alive(pid_path, pid), "but of one that has ended");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    (void)waitpid(pid, NULL, 0);
    tap_ok(count_in("/proc/self/fd") == before, "ADOPT: no descriptor is left");
}
