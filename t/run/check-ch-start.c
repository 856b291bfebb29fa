/*
 * How long a Cloud Hypervisor takes from fork to its first answer, its API socket made before, as the runner does it.
 *   check-ch-start PROGRAM COUNT   prints least, median and most, in microseconds
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/str.h"

#define COUNT_MAX 1000

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int listener(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)unlink(address.sun_path);
    return bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

/* Who stops us interrupts this, since there is a time limit. */
static ssize_t receive(int fd, char *to, size_t size)
{
    ssize_t n;

    do
        n = recv(fd, to, size, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* -1: no answer. */
static int64_t start_us(const char *program)
{
    static const char ping[] = "GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n";
    int api = listener(), client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 10};
    int64_t begin = num_now_us(), us = -1;
    char answer[512];
    pid_t pid;

    if (api < 0 || connect(client, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    (void)setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    pid = fork();
    if (pid == 0) {
        (void)dup2(api, 3); /* which is not close-on-exec then, when api is another */
        (void)fcntl(3, F_SETFD, 0);
        execl(program, program, "--api-socket", "fd=3", (char *)NULL);
        _exit(127);
    }
    if (pid > 0 && send(client, ping, sizeof ping - 1, MSG_NOSIGNAL) > 0 &&
        receive(client, answer, sizeof answer) > 12 && memcmp(answer, "HTTP/1.1 200", 12) == 0)
        us = num_now_us() - begin;
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    close(client);
    close(api);
    return us;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static int64_t took[COUNT_MAX];
    const char *base = getenv("TMPDIR");
    auto_free char *dir = mem_printf("%s/check-ch.XXXXXX", base != NULL ? base : "/tmp");
    int64_t count;
    int status = 0;

    if (argc != 3 || !num_int(argv[2], 1, COUNT_MAX, &count) || mkdtemp(dir) == NULL) {
        (void)fputs("usage: check-ch-start PROGRAM COUNT\n", stderr);
        return 99;
    }
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/ch.sock", dir);
    for (int i = 0; i < count; i++) {
        took[i] = start_us(argv[1]);
        status |= took[i] < 0;
    }
    qsort(took, (size_t)count, sizeof took[0], compare);
    printf("%lld %lld %lld\n", (long long)took[0], (long long)took[count / 2], (long long)took[count - 1]);
    (void)unlink(address.sun_path);
    (void)rmdir(dir);
    return status;
}
