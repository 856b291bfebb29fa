/* A daemon for guests that is not ours: GET /version, GET /self (what it was given), and GET /quit, which ends it. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 64) < 0) {
        perror("fake-daemon");
        exit(1);
    }
    return fd;
}

static void describe(char *text, size_t size)
{
    const char *id = getenv("DAYTONA_SANDBOX_ID"), *greeting = getenv("GREETING");
    char cwd[256] = "";

    (void)!getcwd(cwd, sizeof cwd);
    (void)snprintf(text, size, "{\"id\":\"%s\",\"greeting\":\"%s\",\"cwd\":\"%s\",\"uid\":%u,\"pid\":%d}", id ? id : "",
                   greeting ? greeting : "", cwd, (unsigned)getuid(), (int)getpid());
}

static void answer(int fd)
{
    char request[4096] = "", body[1024] = "{\"version\":\"other\"}", reply[2048];
    size_t len = 0;
    ssize_t n;

    while (strstr(request, "\r\n\r\n") == NULL && len + 1 < sizeof request &&
           (n = read(fd, request + len, sizeof request - 1 - len)) > 0)
        len += (size_t)n;
    if (strncmp(request, "GET /self ", 10) == 0)
        describe(body, sizeof body);
    (void)snprintf(
        reply, sizeof reply,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        strlen(body), body);
    (void)!write(fd, reply, strlen(reply));
    close(fd);
    if (strncmp(request, "GET /quit ", 10) == 0)
        exit(3);
}

int main(void)
{
    int listener = listen_on(2280), fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        answer(fd);
    return 1;
}
