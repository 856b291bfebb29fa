/* /port: what listens in the sandbox, from /proc/net. */
#include <stdio.h>

#include "core/util/num.h"
#include "guest/daemon/routes.h"

#define PORT_FIRST 3000 /* the range that the toolbox API looks at */
#define PORT_LAST  9999
#define TCP_LISTEN 0x0a

struct ports {
    bool is_listening[65536];
};

static void read_table(const char *path, struct ports *ports)
{
    auto_fclose FILE *file = fopen(path, "re");
    char line[512];
    unsigned port, state;

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%4x %*[0-9A-Fa-f]:%*x %2x", &port, &state) == 2 && state == TCP_LISTEN)
            ports->is_listening[port] = true;
}

static struct ports *read_ports(void)
{
    struct ports *ports = mem_alloc(sizeof *ports);

    read_table("/proc/net/tcp", ports);
    read_table("/proc/net/tcp6", ports);
    return ports;
}

void port_list(struct exchange *x)
{
    auto_free struct ports *ports = read_ports();
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_open(&json, "ports", '[');
    for (int port = PORT_FIRST; port <= PORT_LAST; port++)
        if (ports->is_listening[port])
            json_add_int(&json, NULL, port);
    json_close(&json, ']');
    json_close(&json, '}');
    reply_json(x, 200, &json);
}

void port_in_use(struct exchange *x)
{
    auto_free struct ports *ports = NULL;
    auto_str struct str json = STR_INIT;
    int64_t port;

    if (!num_int(x->args[0], PORT_FIRST, PORT_LAST, &port)) {
        reply_error(x, 400, "BAD_REQUEST", "bad request: '%s' is no port from %d to %d", x->args[0], PORT_FIRST,
                    PORT_LAST);
        return;
    }
    ports = read_ports();
    json_open(&json, NULL, '{');
    json_add_bool(&json, "isInUse", ports->is_listening[port]);
    json_close(&json, '}');
    reply_json(x, 200, &json);
}
