/* The guest of a fake VMM: a daemon over HTTP/1.1 with keep-alive. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t/fake/fake.h"

#define PEERS_MAX   64
#define REQUEST_MAX (1 << 20)
#define SEED_MAX    (1 << 20)

struct peer {
    int fd; /* 0: free */
    char *in;
    size_t len, cap;
};
static struct peer peers[PEERS_MAX];
static int64_t up_at_ms;
static int listener = -1;
bool guest_is_stopped;

bool guest_listen(uint32_t host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host)};
    int on = 1;

    if (fake_wish("no-guest") != NULL)
        return true;
    up_at_ms = fake_now_ms() + fake_wish_ms("guest-ms");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 128) == 0)
        return true;
    close(listener);
    listener = -1;
    return false;
}

/* ---- its seed ---- */

static char seed_id[64], seed_address[16];

/* The text between `before` and a quote, where that is in the volume; its files lie in it as they are. */
static void find_text(const char *volume, size_t len, const char *before, char *ret, size_t size)
{
    const char *at = memmem(volume, len, before, strlen(before)), *end;

    if (at == NULL)
        return;
    at += strlen(before);
    end = memchr(at, '"', len - (size_t)(at - volume));
    if (end == NULL || (size_t)(end - at) >= size)
        return;
    memcpy(ret, at, (size_t)(end - at));
    ret[end - at] = '\0';
}

void guest_read_seed(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *volume = malloc(SEED_MAX);
    ssize_t len = fd >= 0 && volume != NULL ? read(fd, volume, SEED_MAX) : -1;

    if (len > 0 && memmem(volume, (size_t)len, "cidata", 6) != NULL) {
        find_text(volume, (size_t)len, "{\"schema\":1,\"id\":\"", seed_id, sizeof seed_id);
        find_text(volume, (size_t)len, "\",\"address\":\"", seed_address, sizeof seed_address);
    }
    free(volume);
    if (fd >= 0)
        close(fd);
}

uint32_t guest_address(void)
{
    const char *own = fake_wish_for("guest-at", seed_id), *outside = own != NULL ? own : fake_wish_for("guest-at", "any");
    uint32_t address = ntohl(inet_addr(outside != NULL ? outside : seed_address));

    return address == INADDR_NONE || address >> 24 == 127 ? 0 : address;
}

/* ---- its daemon ---- */

static void peer_close(struct peer *peer)
{
    close(peer->fd);
    free(peer->in);
    *peer = (struct peer){0};
}

static void send_all(struct peer *peer, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(peer->fd, data, len, MSG_NOSIGNAL);

        if (n <= 0 && errno != EINTR)
            return;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void reply(struct peer *peer, const char *type, const char *body, size_t len)
{
    char head[200];
    int n =
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, len);
    struct iovec parts[2] = {{head, (size_t)n}, {(void *)(uintptr_t)body, len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent = sendmsg(peer->fd, &message, MSG_NOSIGNAL);

    if (sent >= n && (size_t)sent < (size_t)n + len)
        send_all(peer, body + (sent - n), len - (size_t)(sent - n));
}

/* What the last POST /init said. */
static char init_body[256];

static void take_init(struct peer *peer, const char *request, size_t len)
{
    const char *body = memmem(request, len, "\r\n\r\n", 4);

    (void)snprintf(init_body, sizeof init_body, "%.*s", (int)(request + len - body - 4), body + 4);
    reply(peer, "application/json", "{}", 2);
}

/* One whole request: what is not known is told back as it came. */
static void answer(struct peer *peer, const char *request, size_t len)
{
    static const char version[] = "{\"version\":\"fake\"}", file[] = "content of a file in the fake guest\n";
    static const char execute[] = "{\"exitCode\":0,\"result\":\"fake guest\\n\"}";
    char guest[128 + sizeof init_body];

    if (strncmp(request, "GET /version ", 13) == 0)
        reply(peer, "application/json", version, sizeof version - 1);
    else if (strncmp(request, "GET /files/download", 19) == 0)
        reply(peer, "application/octet-stream", file, sizeof file - 1);
    else if (strncmp(request, "POST /process/execute ", 22) == 0)
        reply(peer, "application/json", execute, sizeof execute - 1);
    else if (strncmp(request, "GET /guest ", 11) == 0)
        reply(peer, "application/json", guest,
              (size_t)snprintf(guest, sizeof guest, "{\"id\":\"%s\",\"pid\":%d,\"init\":%s}", seed_id, (int)getpid(),
                               init_body[0] != '\0' ? init_body : "null"));
    else if (strncmp(request, "POST /init ", 11) == 0)
        take_init(peer, request, len);
    else
        reply(peer, "text/plain", request, len);
}

static const char *header(const char *head, const char *end, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = head; line != NULL && line < end; line = strstr(line, "\r\n")) {
        if (line != head)
            line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
    }
    return NULL;
}

/* The length of the first request in the buffer, 0 when it is not all there. */
static size_t request_length(const struct peer *peer)
{
    const char *end = strstr(peer->in, "\r\n\r\n"), *value;
    size_t head, body = 0;

    if (end == NULL)
        return 0;
    head = (size_t)(end + 4 - peer->in);
    if ((value = header(peer->in, end, "Transfer-Encoding")) != NULL && strncasecmp(value, "chunked", 7) == 0) {
        const char *last = strstr(end + 2, "\r\n0\r\n\r\n");

        return last != NULL ? (size_t)(last + 7 - peer->in) : 0;
    }
    if ((value = header(peer->in, end, "Content-Length")) != NULL)
        body = strtoul(value, NULL, 10);
    return body <= peer->len - head ? head + body : 0;
}

static void take_requests(struct peer *peer)
{
    size_t n;

    while (peer->fd != 0 && peer->len > 0 && (n = request_length(peer)) > 0) {
        answer(peer, peer->in, n);
        memmove(peer->in, peer->in + n, peer->len - n + 1);
        peer->len -= n;
    }
}

static void peer_read(struct peer *peer)
{
    ssize_t n;

    if (peer->len + 4096 > peer->cap) {
        peer->cap = peer->cap == 0 ? 8192 : peer->cap * 2;
        peer->in = realloc(peer->in, peer->cap + 1);
        if (peer->in == NULL || peer->cap > REQUEST_MAX * 2) {
            peer_close(peer);
            return;
        }
    }
    n = recv(peer->fd, peer->in + peer->len, peer->cap - peer->len, MSG_DONTWAIT);
    if (n > 0) {
        peer->len += (size_t)n;
        peer->in[peer->len] = '\0';
        take_requests(peer);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        peer_close(peer);
    }
}

static void peer_accept(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;

    for (int i = 0; fd >= 0 && i < PEERS_MAX; i++)
        if (peers[i].fd == 0) {
            /* User networking accepts for a guest that is not there yet, and then resets. */
            if (fake_now_ms() < up_at_ms)
                break;
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            peers[i].fd = fd;
            return;
        }
    if (fd >= 0)
        close(fd);
}

void guest_close(void)
{
    for (int i = 0; i < PEERS_MAX; i++)
        if (peers[i].fd != 0)
            peer_close(&peers[i]);
    if (listener >= 0)
        close(listener);
    listener = -1;
}

int guest_poll_add(struct pollfd *set, int max)
{
    int n = 0;

    if (listener < 0 || guest_is_stopped)
        return 0;
    set[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < PEERS_MAX && n < max; i++)
        if (peers[i].fd != 0)
            set[n++] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
    return n;
}

static struct peer *peer_of(int fd)
{
    for (int i = 0; i < PEERS_MAX; i++)
        if (peers[i].fd == fd)
            return &peers[i];
    return NULL;
}

void guest_poll_done(const struct pollfd *set, int n)
{
    for (int i = 1; i < n; i++) {
        struct peer *peer = set[i].revents != 0 ? peer_of(set[i].fd) : NULL;

        if (peer != NULL)
            peer_read(peer);
    }
    if (n > 0 && set[0].revents != 0)
        peer_accept();
}
