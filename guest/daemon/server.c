#include "guest/daemon/server.h"

#include <arpa/inet.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>

#include "guest/daemon/connection.h"

#define CONNECTIONS_MAX 1000

void server_has_room(struct server *s)
{
    if (s->listener != NULL)
        (void)evconnlistener_enable(s->listener);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    struct server *s = arg;

    (void)peer;
    (void)len;
    connection_new(s, fd);
    if (s->n_connections == CONNECTIONS_MAX)
        (void)evconnlistener_disable(listener);
}

/* Out of descriptors: accept again when a connection has ended. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct server *s = arg;

    if (s->n_connections > 0)
        (void)evconnlistener_disable(listener);
}

static int parse_address(const char *text, int port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *ret_len = sizeof *v4;
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return -1;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    *ret_len = sizeof *v6;
    return 0;
}

struct server *server_new(struct event_base *base, const char *address, int port, const struct route *routes,
                          size_t n_routes, struct runner_error *err)
{
    struct sockaddr_storage sa;
    socklen_t len;
    struct server *s;

    if (parse_address(address, port, &sa, &len) < 0) {
        (void)fail(err, RUNNER_E_INVALID, 0, "'%s' is no IP address", address);
        return NULL;
    }
    s = mem_alloc(sizeof *s);
    s->base = base;
    s->routes = routes;
    s->n_routes = n_routes;
    s->listener =
        evconnlistener_new_bind(base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC,
                                512, (struct sockaddr *)&sa, (int)len);
    if (s->listener == NULL) {
        (void)fail_errno(err, errno, "listen on %s port %d", address, port);
        free(s);
        return NULL;
    }
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    return s;
}

int server_port(const struct server *s)
{
    struct sockaddr_storage sa = {.ss_family = 0};
    socklen_t len = sizeof sa;

    if (getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&sa, &len) < 0)
        return -1;
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    evconnlistener_free(s->listener);
    s->listener = NULL;
    while (s->first != NULL)
        connection_free(s->first);
    free(s);
}
