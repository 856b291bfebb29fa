/* runner-dns: forwards the DNS questions of guests that may reach only some names, see runner-dns(8). */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "plugins/network/bridge/dns/confine.h"
#include "plugins/network/bridge/dns/keep.h"
#include "plugins/network/bridge/dns/server.h"

/* ready_fd: where it is told that it serves; -1: nowhere. */
static int serve(const struct options *options, int ready_fd)
{
    struct server server;
    int status = server_open(&server, options) < 0 || confine(options->policies) < 0 ? 1 : 0;

    if (status == 0) {
        fprintf(stderr, "runner-dns: ready\n");
        if (ready_fd >= 0 && write(ready_fd, "", 1) == 1)
            close(ready_fd);
        status = server_run(&server) < 0 ? 1 : 0;
    }
    server_close(&server);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    int status = options_read(argc, argv, &options);

    if (status != 0)
        return status > 0 ? 0 : 2;
    (void)signal(SIGPIPE, SIG_IGN);
    return options.state != NULL ? keep_serving(&options, serve) : serve(&options, -1);
}
