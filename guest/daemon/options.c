#include "guest/daemon/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "core/util/num.h"

void options_usage(void)
{
    (void)fputs("usage: runner-guestd [OPTION...]\n"
                "Serves the toolbox API of a sandbox. As process 1 it boots the guest first.\n\n"
                "  --address ADDRESS  IP address to listen on [::, else 0.0.0.0]\n"
                "  --port PORT        port, 0 for any free one [the seed's daemonPort, else 2280]\n"
                "  --seed FILE        runner.json with the sandbox's environment; 'auto': from the\n"
                "                     disk labelled cidata (needs root)\n"
                "  --help, --version\n",
                stdout);
}

int options_parse(int argc, char **argv, struct options *ret, struct runner_error *err)
{
    static const struct option known[] = {
        {"address", required_argument, NULL, 'a'}, {"port", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 's'},    {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0}};
    struct options o = {.port = -1};
    int64_t port;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", known, NULL)) != -1) {
        if (c == 'a') {
            o.address = optarg;
        } else if (c == 's') {
            o.seed = optarg;
        } else if (c == 'h') {
            o.wants_help = true;
        } else if (c == 'v') {
            o.wants_version = true;
        } else if (c == 'p') {
            if (!num_int(optarg, 0, 65535, &port))
                return fail(err, RUNNER_E_INVALID, 0, "--port: '%s' is no port", optarg);
            o.port = (int)port;
        } else {
            return fail(err, RUNNER_E_INVALID, 0, c == ':' ? "'%s' needs a value" : "'%s' is no option",
                        argv[optind - 1]);
        }
    }
    if (optind < argc)
        return fail(err, RUNNER_E_INVALID, 0, "'%s': no operands are taken", argv[optind]);
    *ret = o;
    return 0;
}
