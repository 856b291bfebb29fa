/*
 * A reference of the bench: one VMM started by hand, its daemon polled as the runner polls it.
 *
 *   by-hand PORT SOCKET SERIAL OUTPUT PROGRAM [ARG...]
 *
 * PROGRAM gets a listening socket at descriptor 3 and the serial log at 4, as the runner gives them. Once the daemon at
 * 127.0.0.1:PORT answers GET /version, one line: the process id, and in microseconds the time since PROGRAM was started
 * and the processor time that this program took. PROGRAM goes on running. Status 1: it ended, or nobody answered.
 */
#include "t/bench/by-hand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* As core/guest.c. */
#define ATTEMPT_FIRST_MS 25
#define ATTEMPT_MAX_MS   1000
#define ATTEMPT_GROWTH   16
#define PAUSE_MS         5
#define GIVE_UP_S        600

/* Ready for events before end_us. */
static bool await(int fd, short events, int64_t end_us)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left_ms = (end_us - hand_now_us() + 999) / 1000;

    return left_ms > 0 && poll(&p, 1, (int)left_ms) > 0;
}

static bool ask(int fd, int port, int64_t end_us)
{
    static const char request[] = "GET /version HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char reply[4096];
    ssize_t n;
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && (errno != EINPROGRESS || !await(fd, POLLOUT, end_us)))
        return false;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1)
        return false;
    while ((n = recv(fd, reply, sizeof reply - 1, 0)) < 0 && errno == EAGAIN)
        if (!await(fd, POLLIN, end_us))
            return false;
    reply[n > 0 ? n : 0] = '\0';
    return strncmp(reply, "HTTP/1.", 7) == 0 && strstr(reply, " 200 ") != NULL;
}

static bool wait_ready(int port, int pidfd)
{
    int64_t give_up_us = hand_now_us() + (int64_t)GIVE_UP_S * 1000000, attempt_ms = ATTEMPT_FIRST_MS;

    while (hand_now_us() < give_up_us) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        bool is_up = fd >= 0 && ask(fd, port, hand_now_us() + attempt_ms * 1000);

        if (fd >= 0)
            close(fd);
        if (is_up)
            return true;
        attempt_ms += attempt_ms / ATTEMPT_GROWTH + 1;
        if (attempt_ms > ATTEMPT_MAX_MS)
            attempt_ms = ATTEMPT_MAX_MS;
        if (await(pidfd, POLLIN, hand_now_us() + PAUSE_MS * 1000))
            return false;
    }
    return false;
}

int main(int argc, char **argv)
{
    int64_t begin_us = hand_now_us();
    pid_t pid;

    if (argc < 6) {
        (void)fputs("usage: by-hand PORT SOCKET SERIAL OUTPUT PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    pid = hand_start(argv + 5, hand_listen(argv[2]), hand_open_log(argv[3]), hand_open_log(argv[4]));
    if (pid < 0)
        hand_die("fork");
    if (!wait_ready(atoi(argv[1]), pidfd_open(pid, 0))) {
        (void)fprintf(stderr, "by-hand: no daemon at port %s, see %s\n", argv[1], argv[4]);
        return 1;
    }
    hand_report(pid, begin_us);
    return 0;
}
