/* Speaking to Cloud Hypervisor, and waiting for the guest. */
#include "t/bench/by-hand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/fake/loopback.h"

/* As core/guest.c. */
#define ATTEMPT_FIRST_MS 25
#define ATTEMPT_MAX_MS   1000
#define ATTEMPT_GROWTH   16
#define PAUSE_MS         5
#define GIVE_UP_S        600

/* ---- Cloud Hypervisor ---- */

static int dial(const struct machine *m)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&m->address, sizeof m->address) < 0)
        hand_die(m->address.sun_path);
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
    int n = snprintf(text, sizeof text, "PUT /api/v1/%s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", action,
                     strlen(body), body);

    if (n >= (int)sizeof text) {
        errno = EMSGSIZE;
        hand_die(action);
    }
    send_all(fd, text, (size_t)n, passed);
    do {
        ssize_t got = recv(fd, text + len, sizeof text - 1 - len, 0);

        if (got <= 0)
            hand_die(action);
        len += (size_t)got;
        text[len] = '\0';
    } while (strstr(text, "\r\n\r\n") == NULL);
    if (strncmp(text, "HTTP/1.1 20", 11) != 0) {
        (void)fprintf(stderr, "by-hand: %s: %s\n", action, text);
        exit(1);
    }
}

void hand_boot_ch(struct machine *m)
{
    char *config = hand_words(m, m->hand->config), *nic = hand_words(m, m->hand->nic != NULL ? m->hand->nic : "");
    int fd = dial(m);

    call(fd, "vm.create", config, -1);
    if (m->tap >= 0)
        call(fd, "vm.add-net", nic, m->tap);
    call(fd, "vm.boot", "", -1);
    close(fd);
    free(config);
    free(nic);
}

/* QEMU greets once its machine is built: to ask its guest before is in vain, and costs a pause. */
void hand_await_qemu(struct machine *m)
{
    char greeting[1024];
    int fd = dial(m);

    if (recv(fd, greeting, sizeof greeting, 0) <= 0)
        hand_die("QMP");
    close(fd);
}

/* ---- the guest ---- */

/* Ready for events before end_us. */
static bool await(int fd, short events, int64_t end_us)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left_ms = (end_us - hand_now_us() + 999) / 1000;

    return left_ms > 0 && poll(&p, 1, (int)left_ms) > 0;
}

static bool ask(const struct machine *m, int fd, int64_t end_us)
{
    static const char request[] = "GET /version HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)m->port)};
    char reply[4096];
    ssize_t n;
    int one = 1;

    to.sin_addr.s_addr = htonl(m->hand->config != NULL ? loopback_address(m->mac) : INADDR_LOOPBACK);
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

static bool wait_daemon(const struct machine *m)
{
    int64_t give_up_us = hand_now_us() + (int64_t)GIVE_UP_S * 1000000, attempt_ms = ATTEMPT_FIRST_MS;

    while (hand_now_us() < give_up_us) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        bool is_up = fd >= 0 && ask(m, fd, hand_now_us() + attempt_ms * 1000);

        if (fd >= 0)
            close(fd);
        if (is_up)
            return true;
        attempt_ms += attempt_ms / ATTEMPT_GROWTH + 1;
        if (attempt_ms > ATTEMPT_MAX_MS)
            attempt_ms = ATTEMPT_MAX_MS;
        if (await(m->pidfd, POLLIN, hand_now_us() + PAUSE_MS * 1000))
            return false;
    }
    return false;
}

void hand_watch_serial(struct machine *m)
{
    char path[sizeof m->dir + 16];

    (void)snprintf(path, sizeof path, "%s/serial.log", m->dir);
    m->inotify = inotify_init1(IN_CLOEXEC);
    if (m->inotify < 0 || inotify_add_watch(m->inotify, path, IN_MODIFY) < 0)
        hand_die(path);
}

static bool wait_serial(const struct machine *m)
{
    struct pollfd set[] = {{.fd = m->inotify, .events = POLLIN}, {.fd = m->pidfd, .events = POLLIN}};
    char events[4096];
    struct stat st;

    while (fstatat(m->at, "serial.log", &st, 0) == 0 && st.st_size == 0) {
        if (poll(set, 2, GIVE_UP_S * 1000) <= 0 || set[1].revents != 0)
            return false;
        (void)!read(m->inotify, events, sizeof events);
    }
    return true;
}

bool hand_wait_ready(const struct machine *m)
{
    return m->inotify >= 0 ? wait_serial(m) : wait_daemon(m);
}
