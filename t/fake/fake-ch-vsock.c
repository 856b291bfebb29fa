/*
 * The host's side of a vsock: a unix socket where "CONNECT n\n" is answered by "OK m\n" when the guest listens at that
 * port, and by closing when not. Wishes: vsock-port N, the guest listens there and echoes; vsock-dial N: it calls the
 * host.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

#define PEERS_MAX      15
#define LINE_MAX_BYTES 32

static int listener = -1;
static struct sockaddr_un address;
static struct peer {
    int fd; /* 0: free */
    char line[LINE_MAX_BYTES + 1];
    size_t n;
    bool is_through;
} peers[PEERS_MAX];
static unsigned host_port = 1073741824;

static void dial_host(void)
{
    const char *port = fake_wish("vsock-dial");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd;

    if (port == NULL ||
        snprintf(to.sun_path, sizeof to.sun_path, "%s_%s", address.sun_path, port) >= (int)sizeof to.sun_path)
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        (void)send(fd, "fake guest\n", 11, MSG_NOSIGNAL);
    close(fd);
}

int vsock_bind(const char *path)
{
    if (strlen(path) >= sizeof address.sun_path)
        return ENAMETOOLONG;
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 10) < 0) {
        int number = errno;

        close(listener);
        listener = -1;
        return number;
    }
    dial_host();
    return 0;
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    *p = (struct peer){0};
}

void vsock_close(void)
{
    if (listener < 0)
        return;
    for (int i = 0; i < PEERS_MAX; i++)
        if (peers[i].fd != 0)
            peer_close(&peers[i]);
    close(listener);
    listener = -1;
    (void)unlink(address.sun_path);
}

static void take_connect(struct peer *p)
{
    const char *wanted = fake_wish("vsock-port"), *port = p->line + strlen("CONNECT ");

    p->line[p->n - 1] = '\0';
    if (strncasecmp(p->line, "CONNECT ", 8) != 0 || wanted == NULL || strcmp(port, wanted) != 0) {
        peer_close(p);
        return;
    }
    (void)dprintf(p->fd, "OK %u\n", host_port++);
    p->is_through = true;
}

static void peer_read(struct peer *p)
{
    char data[4096];
    ssize_t n;

    if (p->is_through) {
        n = recv(p->fd, data, sizeof data, MSG_DONTWAIT);
        if (n > 0)
            (void)send(p->fd, data, (size_t)n, MSG_NOSIGNAL);
        else if (n == 0)
            peer_close(p);
        return;
    }
    n = recv(p->fd, p->line + p->n, 1, MSG_DONTWAIT); /* payload may follow the line at once */
    if (n == 1 && p->line[p->n++] == '\n')
        take_connect(p);
    else if (n == 0 || p->n == LINE_MAX_BYTES)
        peer_close(p);
}

static void peer_accept(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    for (int i = 0; fd >= 0 && i < PEERS_MAX; i++)
        if (peers[i].fd == 0) {
            peers[i].fd = fd;
            return;
        }
    if (fd >= 0)
        close(fd);
}

int vsock_poll_add(struct pollfd *set, int max)
{
    int n = 0;

    if (listener < 0 || vm.state == VM_PAUSED)
        return 0;
    set[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < PEERS_MAX && n < max; i++)
        if (peers[i].fd != 0)
            set[n++] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
    return n;
}

void vsock_poll_done(const struct pollfd *set, int n)
{
    for (int i = 1; i < n; i++)
        for (int k = 0; k < PEERS_MAX && set[i].revents != 0; k++)
            if (peers[k].fd != 0 && peers[k].fd == set[i].fd) {
                peer_read(&peers[k]);
                break;
            }
    if (n > 0 && set[0].revents != 0 && listener >= 0)
        peer_accept();
}
