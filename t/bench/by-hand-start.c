/* Starting a VMM by hand: what the references of the bench share. */
#include "t/bench/by-hand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int64_t hand_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void hand_die(const char *what)
{
    (void)fprintf(stderr, "by-hand: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

int hand_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= (int)sizeof address.sun_path)
        errno = ENAMETOOLONG;
    else if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 128) == 0)
        return fd;
    hand_die(path);
    return -1;
}

int hand_open_log(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);

    if (fd < 0)
        hand_die(path);
    return fd;
}

pid_t hand_start(char **argv, int third, int fourth, int output)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    third = fcntl(third, F_DUPFD, 100);
    fourth = fcntl(fourth, F_DUPFD, 100);
    output = fcntl(output, F_DUPFD, 100);
    (void)setsid();
    if (dup2(third, 3) < 0 || dup2(fourth, 4) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    (void)close_range(5, ~0U, 0);
    (void)execvp(argv[0], argv);
    _exit(127);
}

void hand_report(pid_t pid, int64_t begin_us)
{
    struct rusage usage;
    int64_t cpu_us;

    (void)getrusage(RUSAGE_SELF, &usage);
    cpu_us =
        (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    printf("%d %lld %lld\n", (int)pid, (long long)(hand_now_us() - begin_us), (long long)cpu_us);
}
