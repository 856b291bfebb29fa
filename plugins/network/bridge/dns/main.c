/* runner-dns: forwards the DNS questions of guests that may reach only some names, see runner-dns(8). */
#include <signal.h>
#include <stdio.h>

#include "plugins/network/bridge/dns/confine.h"
#include "plugins/network/bridge/dns/server.h"

int main(int argc, char **argv)
{
    struct options options;
    struct server server;
    int status = options_read(argc, argv, &options);

    if (status != 0)
        return status > 0 ? 0 : 2;
    (void)signal(SIGPIPE, SIG_IGN);
    status = server_open(&server, &options) < 0 || confine(options.policies) < 0 ? 1 : 0;
    if (status == 0) {
        fprintf(stderr, "runner-dns: ready\n");
        status = server_run(&server) < 0 ? 1 : 0;
    }
    server_close(&server);
    return status;
}
