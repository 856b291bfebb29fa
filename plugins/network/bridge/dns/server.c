#include "plugins/network/bridge/dns/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "plugins/network/bridge/dns/allow.h"
#include "plugins/network/bridge/dns/element.h"

#define AT_ONCE      64        /* datagrams that one call reads */
#define ROUNDS       16        /* such calls before others have their turn */
#define QUERY_MAX    2048      /* bytes */
#define RECEIVE_SIZE (4 << 20) /* bytes in the kernel: one guest's flood is read before there is no room for others */
#define IDLE_S       10        /* of a connection */
#define BACKLOG      64
#define UNSENT_MAX   (2 * MESSAGE_MAX)
#define OTHER_FILES  512 /* descriptors for all that is no lookup */
#define LOOKUPS_MAX  8192

static int failed(const char *what)
{
    fprintf(stderr, "runner-dns: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- questions ---- */

static uint32_t host_address(const struct client *client)
{
    return ntohl(client->address.sin_addr.s_addr);
}

static int64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static void refuse(const struct client *client, const uint8_t *data, size_t len, const struct question *q, int rcode)
{
    uint8_t out[512];

    server_reply(client, out, message_refuse(data, len, q, rcode, out, sizeof out));
}

/* No guest has IPv6, and an address that comes in another record would not be let through. */
static bool is_empty(const struct question *q, const struct allow *allow)
{
    return q->type == TYPE_AAAA || (allow->is_listed && (q->type == TYPE_HTTPS || q->type == TYPE_SVCB));
}

/* NULL: it is answered. */
static struct lookup *answer(const struct client *client, const uint8_t *data, size_t len)
{
    char name[INET_ADDRSTRLEN];
    struct question q;
    struct allow allow;
    int rcode = message_read_query(data, len, &q);

    if (rcode < 0) {
        server_reply(client, NULL, 0);
        return NULL;
    }
    if (rcode == RCODE_OK) {
        allow_read(client->listener->server->policies, inet_ntop(AF_INET, &client->address.sin_addr, name, sizeof name),
                   &allow);
        rcode = allow_has(&allow, q.name) ? RCODE_OK : RCODE_REFUSED;
    }
    if (rcode == RCODE_OK && !is_empty(&q, &allow))
        return lookup_begin(client, &q);
    refuse(client, data, len, &q, rcode);
    return NULL;
}

static bool begin(const struct client *client)
{
    const struct listener *l = client->listener;

    if (client->address.sin_port == 0 || host_address(client) == l->address) /* the host itself is no guest */
        return false;
    return guests_begin(l->guests, host_address(client), now_us());
}

/* ---- UDP ---- */

static void on_udp(evutil_socket_t fd, short what, void *ctx)
{
    static uint8_t data[AT_ONCE][QUERY_MAX];
    struct sockaddr_in from[AT_ONCE];
    struct iovec parts[AT_ONCE];
    struct mmsghdr messages[AT_ONCE];

    (void)what;
    for (int round = 0; round < ROUNDS; round++) {
        int n;

        for (int i = 0; i < AT_ONCE; i++) {
            parts[i] = (struct iovec){data[i], QUERY_MAX};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        n = recvmmsg(fd, messages, AT_ONCE, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++) {
            const struct client client = {.listener = ctx, .address = from[i]};

            if (!(messages[i].msg_hdr.msg_flags & MSG_TRUNC) && begin(&client))
                (void)answer(&client, data[i], messages[i].msg_len);
        }
        if (n < AT_ONCE)
            return;
    }
}

/* ---- TCP: one question at a time ---- */

struct conn {
    struct client client;
    struct bufferevent *tcp;
    struct lookup *lookup;
    bool is_reading;
};

static void conn_close(struct conn *conn)
{
    if (conn->lookup != NULL)
        lookup_cancel(conn->lookup);
    guests_disconnect(conn->client.listener->guests, host_address(&conn->client));
    bufferevent_free(conn->tcp);
    free(conn);
}

/* A whole message is there: its length. 0: not yet, -1: it never will be. */
static int message_length(struct evbuffer *in)
{
    uint8_t head[2];
    int len;

    if (evbuffer_copyout(in, head, sizeof head) < (ssize_t)sizeof head)
        return 0;
    len = head[0] << 8 | head[1];
    if (len == 0 || len > QUERY_MAX)
        return -1;
    return evbuffer_get_length(in) >= sizeof head + (size_t)len ? len : 0;
}

static void conn_read(struct conn *conn)
{
    struct evbuffer *in = bufferevent_get_input(conn->tcp);
    uint8_t data[2 + QUERY_MAX];
    int len = 0;

    conn->is_reading = true;
    while (conn->lookup == NULL && (len = message_length(in)) > 0) {
        evbuffer_remove(in, data, 2 + (size_t)len);
        if (!begin(&conn->client) || evbuffer_get_length(bufferevent_get_output(conn->tcp)) > UNSENT_MAX) {
            len = -1;
            break;
        }
        conn->lookup = answer(&conn->client, data + 2, (size_t)len);
    }
    conn->is_reading = false;
    if (len < 0)
        conn_close(conn);
}

static void on_conn_read(struct bufferevent *tcp, void *ctx)
{
    (void)tcp;
    conn_read(ctx);
}

static void on_conn_event(struct bufferevent *tcp, short what, void *ctx)
{
    (void)tcp;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        conn_close(ctx);
}

static void on_accept(struct evconnlistener *tcp, evutil_socket_t fd, struct sockaddr *address, int len, void *ctx)
{
    static const struct timeval idle = {.tv_sec = IDLE_S};
    struct listener *listener = ctx;
    struct sockaddr_in from;
    struct conn *conn;

    (void)tcp;
    if ((size_t)len < sizeof from || address->sa_family != AF_INET) {
        close(fd);
        return;
    }
    memcpy(&from, address, sizeof from);
    if (!guests_connect(listener->guests, ntohl(from.sin_addr.s_addr))) {
        close(fd);
        return;
    }
    conn = calloc(1, sizeof *conn);
    if (conn != NULL)
        conn->tcp = bufferevent_socket_new(listener->server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (conn == NULL || conn->tcp == NULL) {
        free(conn);
        close(fd);
        guests_disconnect(listener->guests, ntohl(from.sin_addr.s_addr));
        return;
    }
    conn->client = (struct client){.listener = listener, .address = from, .conn = conn};
    bufferevent_setcb(conn->tcp, on_conn_read, NULL, on_conn_event, conn);
    bufferevent_setwatermark(conn->tcp, EV_READ, 0, 2 * QUERY_MAX);
    bufferevent_set_timeouts(conn->tcp, &idle, &idle);
    bufferevent_enable(conn->tcp, EV_READ | EV_WRITE);
}

void server_reply(const struct client *client, const uint8_t *data, size_t len)
{
    struct conn *conn = client->conn;
    uint8_t head[2] = {(uint8_t)(len >> 8), (uint8_t)len};

    guests_end(client->listener->guests, host_address(client));
    if (conn == NULL) {
        if (data != NULL && len > 0) /* where the guest has no room for it, it asks again */
            (void)sendto(client->listener->fd, data, len, MSG_DONTWAIT, (const struct sockaddr *)&client->address,
                         sizeof client->address);
        return;
    }
    conn->lookup = NULL;
    if (data != NULL && len > 0) {
        bufferevent_write(conn->tcp, head, sizeof head);
        bufferevent_write(conn->tcp, data, len);
    }
    if (!conn->is_reading)
        conn_read(conn);
}

/* ---- opening ---- */

/* Whether the interface has the address; of the network that it has it in. */
static bool has_address(const struct ifaddrs *at, uint32_t address, unsigned *ret_prefix)
{
    struct sockaddr_in has, mask;

    if (at->ifa_addr == NULL || at->ifa_netmask == NULL || at->ifa_addr->sa_family != AF_INET ||
        strlen(at->ifa_name) >= IF_NAMESIZE)
        return false;
    memcpy(&has, at->ifa_addr, sizeof has);
    memcpy(&mask, at->ifa_netmask, sizeof mask);
    *ret_prefix = (unsigned)__builtin_popcount(mask.sin_addr.s_addr);
    return ntohl(has.sin_addr.s_addr) == address;
}

/* The largest of the networks that the address is in: bridges of one network have it, of which the others have it alone. */
static unsigned find_prefix(const struct ifaddrs *all, uint32_t address)
{
    unsigned least = 0, prefix;

    for (; all != NULL; all = all->ifa_next)
        if (has_address(all, address, &prefix) && (least == 0 || prefix < least))
            least = prefix;
    return least;
}

/* Of that interface alone: no other network can ask. */
static int open_socket(int type, const struct sockaddr_in *address, const char *interface)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, size = RECEIVE_SIZE;

    if (fd < 0)
        return -1;
    if ((type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0 ||
        bind(fd, (const struct sockaddr *)address, sizeof *address) < 0) {
        close(fd);
        return -1;
    }
    if (type == SOCK_DGRAM)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return fd;
}

static int open_listener(struct server *server, const struct sockaddr_in *at, struct guests *guests,
                         const char *interface)
{
    struct listener *l = calloc(1, sizeof *l);
    int tcp;

    if (l == NULL)
        return failed(interface);
    *l = (struct listener){.next = server->listeners,
                           .server = server,
                           .address = ntohl(at->sin_addr.s_addr),
                           .guests = guests,
                           .fd = open_socket(SOCK_DGRAM, at, interface)};
    server->listeners = l;
    tcp = l->fd >= 0 ? open_socket(SOCK_STREAM, at, interface) : -1;
    if (tcp < 0)
        return failed(interface);
    l->event = event_new(server->base, l->fd, EV_READ | EV_PERSIST, on_udp, l);
    l->tcp =
        evconnlistener_new(server->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, tcp);
    if (l->event == NULL || l->tcp == NULL || event_add(l->event, NULL) < 0) {
        errno = ENOMEM;
        return failed(interface);
    }
    return 0;
}

/* By each interface that has it. */
static int open_address(struct server *server, const struct ifaddrs *all, uint32_t address, struct guests **ret_guests)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(server->options->port), .sin_addr.s_addr = htonl(address)};
    unsigned prefix = find_prefix(all, address), ignored;
    char text[INET_ADDRSTRLEN];

    if (prefix < GUESTS_PREFIX_MIN) {
        fprintf(stderr, "runner-dns: no interface has the address %s, with a network of at least /%d\n",
                inet_ntop(AF_INET, &at.sin_addr, text, sizeof text), GUESTS_PREFIX_MIN);
        return -1;
    }
    *ret_guests = guests_new(prefix == 32 ? address : address & UINT32_MAX << (32 - prefix), prefix);
    if (*ret_guests == NULL) {
        errno = ENOMEM;
        return failed("guests");
    }
    for (; all != NULL; all = all->ifa_next)
        if (has_address(all, address, &ignored) && open_listener(server, &at, *ret_guests, all->ifa_name) < 0)
            return -1;
    return 0;
}

static int open_addresses(struct server *server)
{
    struct ifaddrs *all;
    int r = 0;

    if (getifaddrs(&all) < 0)
        return failed("interfaces");
    for (unsigned i = 0; i < server->options->n_listen && r == 0; i++)
        r = open_address(server, all, server->options->listen[i], &server->guests[i]);
    freeifaddrs(all);
    return r;
}

static unsigned raise_files(void)
{
    struct rlimit limit = {.rlim_cur = 0};

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < OTHER_FILES + LOOKUPS_MAX) {
        limit.rlim_cur = limit.rlim_max < OTHER_FILES + LOOKUPS_MAX ? limit.rlim_max : OTHER_FILES + LOOKUPS_MAX;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= OTHER_FILES + LOOKUPS_MAX)
        return LOOKUPS_MAX;
    return limit.rlim_cur > 2 * OTHER_FILES ? (unsigned)limit.rlim_cur - OTHER_FILES : OTHER_FILES / 2;
}

int server_open(struct server *server, const struct options *options)
{
    *server = (struct server){.options = options, .policies = -1, .nft = -1};
    server->lookups_max = raise_files();
    server->base = event_base_new();
    if (server->base == NULL) {
        errno = ENOMEM;
        return failed("event loop");
    }
    server->policies = open(options->policies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server->policies < 0)
        return failed(options->policies);
    server->nft = element_open();
    if (server->nft < 0)
        return failed("netlink");
    return open_addresses(server);
}

static void on_stop(evutil_socket_t number, short what, void *ctx)
{
    struct server *server = ctx;

    (void)number;
    (void)what;
    event_base_loopbreak(server->base);
}

int server_run(struct server *server)
{
    struct event *stop = evsignal_new(server->base, SIGTERM, on_stop, server);
    int status = stop != NULL && event_add(stop, NULL) == 0 ? event_base_dispatch(server->base) : -1;

    if (stop != NULL)
        event_free(stop);
    return status < 0 ? -1 : 0;
}

void server_close(struct server *server)
{
    while (server->listeners != NULL) {
        struct listener *l = server->listeners;

        server->listeners = l->next;
        if (l->event != NULL)
            event_free(l->event);
        if (l->tcp != NULL)
            evconnlistener_free(l->tcp);
        if (l->fd >= 0)
            close(l->fd);
        free(l);
    }
    for (unsigned i = 0; i < OPTIONS_LISTENERS; i++)
        guests_free(server->guests[i]);
    if (server->nft >= 0)
        close(server->nft);
    if (server->policies >= 0)
        close(server->policies);
    if (server->base != NULL)
        event_base_free(server->base);
}
