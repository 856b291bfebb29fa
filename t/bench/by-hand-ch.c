/*
 * A reference of the bench: one machine of Cloud Hypervisor made by hand, to the first byte on its serial console.
 *
 *   by-hand-ch TAP NIC CONFIG SOCKET SERIAL OUTPUT PROGRAM [ARG...]
 *
 * PROGRAM gets a socket that listens at SOCKET at descriptor 3, and /dev/null at 4 for its events, as the runner gives
 * them.
 * CONFIG is the body of vm.create, NIC that of vm.add-net, with which goes a queue of TAP (which is there already). Once the
 * file SERIAL, which CONFIG names, is longer than nothing, it prints what by-hand prints. Status 1: something failed.
 */
#include "t/bench/by-hand.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GIVE_UP_MS 30000

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        hand_die(name);
    return fd;
}

static int watch_serial(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), inotify = inotify_init1(IN_CLOEXEC);

    if (fd < 0 || inotify < 0 || inotify_add_watch(inotify, path, IN_MODIFY) < 0)
        hand_die(path);
    close(fd);
    return inotify;
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path)); /* hand_listen() has seen that it fits */
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        hand_die(path);
    return fd;
}

static void send_all(int fd, const char *text, size_t len, int passed)
{
    char control[CMSG_SPACE(sizeof passed)] __attribute__((aligned(8))) = {0};
    struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (passed >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        *CMSG_FIRSTHDR(&message) =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof passed), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &passed, sizeof passed);
    }
    if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)len)
        hand_die("send");
}

/* None of these calls is answered with a body when it succeeds. */
static void call(int fd, const char *action, const char *body, int passed)
{
    char text[16384];
    size_t len = 0;
    int n = snprintf(text, sizeof text, "PUT /api/v1/%s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", action, strlen(body),
                     body);

    if (n < 0 || (size_t)n >= sizeof text) {
        (void)fprintf(stderr, "by-hand-ch: %s: too long\n", action);
        exit(1);
    }
    send_all(fd, text, (size_t)n, passed);
    do {
        ssize_t got = recv(fd, text + len, sizeof text - 1 - len, 0);

        if (got <= 0)
            hand_die(action);
        len += (size_t)got;
        text[len] = '\0';
    } while (strstr(text, "\r\n\r\n") == NULL);
    if (strncmp(text, "HTTP/1.1 204 ", 13) != 0) {
        (void)fprintf(stderr, "by-hand-ch: %s: %s\n", action, text);
        exit(1);
    }
}

static int wait_output(int inotify, int pidfd, const char *path)
{
    struct pollfd set[] = {{.fd = inotify, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    char events[4096];
    struct stat st;

    while (stat(path, &st) == 0 && st.st_size == 0) {
        if (poll(set, 2, GIVE_UP_MS) <= 0 || set[1].revents != 0)
            return -1;
        (void)!read(inotify, events, sizeof events);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int64_t begin_us = hand_now_us();
    int inotify, tap, api, pidfd;
    pid_t pid;

    if (argc < 8) {
        (void)fputs("usage: by-hand-ch TAP NIC CONFIG SOCKET SERIAL OUTPUT PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    inotify = watch_serial(argv[5]);
    tap = open_tap(argv[1]);
    pid = hand_start(argv + 7, hand_listen(argv[4]), open("/dev/null", O_RDWR), hand_open_log(argv[6]));
    if (pid < 0)
        hand_die("fork");
    pidfd = pidfd_open(pid, 0);
    api = dial(argv[4]);
    call(api, "vm.create", argv[3], -1);
    call(api, "vm.add-net", argv[2], tap);
    call(api, "vm.boot", "", -1);
    if (wait_output(inotify, pidfd, argv[5]) < 0) {
        (void)fprintf(stderr, "by-hand-ch: the guest says nothing, see %s\n", argv[6]);
        (void)kill(pid, SIGKILL);
        return 1;
    }
    hand_report(pid, begin_us);
    return 0;
}
