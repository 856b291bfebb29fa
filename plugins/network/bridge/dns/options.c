#include "plugins/network/bridge/dns/options.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"

#define RESOLV_CONF "/etc/resolv.conf"

static const char *const never[] = {"0.0.0.0/8",      "10.0.0.0/8",    "100.64.0.0/10",  "127.0.0.0/8",
                                    "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"};

static int wrong(const char *option, const char *text, const char *wanted)
{
    fprintf(stderr, "runner-dns: %s: '%s' is not %s\n", option, text, wanted);
    return -1;
}

static int add_listen(const char *text, struct options *ret)
{
    struct in_addr address;

    if (ret->n_listen == OPTIONS_LISTENERS || inet_pton(AF_INET, text, &address) != 1)
        return wrong("--listen", text, "an IPv4 address, of at most 8");
    ret->listen[ret->n_listen++] = ntohl(address.s_addr);
    return 0;
}

static int read_upstream(const char *text, struct upstream *ret)
{
    int len = sizeof ret->address;
    struct sockaddr *address = (struct sockaddr *)&ret->address;
    in_port_t *port;

    memset(ret, 0, sizeof *ret);
    if (evutil_parse_sockaddr_port(text, address, &len) < 0)
        return -1;
    ret->len = (socklen_t)len;
    port = address->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)address)->sin6_port
                                          : &((struct sockaddr_in *)address)->sin_port;
    if (*port == 0)
        *port = htons(53);
    return 0;
}

static int add_upstream(const char *text, struct options *ret)
{
    if (ret->n_upstreams == OPTIONS_UPSTREAMS || read_upstream(text, &ret->upstreams[ret->n_upstreams]) < 0)
        return wrong("--upstream", text, "an address, or an address and a port, of at most 3");
    ret->n_upstreams++;
    return 0;
}

static int add_never(const char *text, struct options *ret)
{
    char copy[32];
    char *slash;
    struct in_addr address;
    int64_t prefix = -1;

    if (ret->n_never < OPTIONS_NEVER && strlen(text) < sizeof copy) {
        memcpy(copy, text, strlen(text) + 1);
        slash = strchr(copy, '/');
        if (slash != NULL)
            *slash = '\0';
        if (slash == NULL || !num_int(slash + 1, 0, 32, &prefix) || inet_pton(AF_INET, copy, &address) != 1)
            prefix = -1;
    }
    if (prefix < 0)
        return wrong("--never", text, "an IPv4 network as a.b.c.d/n, of at most 256");
    ret->never[ret->n_never].mask = prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
    ret->never[ret->n_never].address = ntohl(address.s_addr) & ret->never[ret->n_never].mask;
    ret->n_never++;
    return 0;
}

static int add_default_never(struct options *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (add_never(never[i], ret) < 0)
            return -1;
    return 0;
}

/* It is not asked what it would ask us. */
static bool is_ours(const struct upstream *upstream, const struct options *options)
{
    const struct sockaddr_in *address = (const struct sockaddr_in *)&upstream->address;

    for (unsigned i = 0; i < options->n_listen; i++)
        if (address->sin_family == AF_INET && ntohl(address->sin_addr.s_addr) == options->listen[i] &&
            ntohs(address->sin_port) == options->port)
            return true;
    return false;
}

void options_follow(struct options *options)
{
    auto_fclose FILE *file = NULL;
    char line[256], text[128];

    if (!options->is_following)
        return;
    file = fopen(options->resolv_conf, "re");
    options->n_upstreams = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL && options->n_upstreams < OPTIONS_UPSTREAMS) {
        struct upstream *next = &options->upstreams[options->n_upstreams];

        if (sscanf(line, " nameserver %127s", text) == 1 && read_upstream(text, next) == 0 && !is_ours(next, options))
            options->n_upstreams++;
    }
    if (options->n_upstreams == 0)
        fprintf(stderr, "runner-dns: no server to ask: %s names none\n", options->resolv_conf);
}

static int finish(struct options *ret)
{
    if (ret->n_listen == 0 || ret->policies == NULL) {
        fprintf(stderr, "runner-dns: --listen and --policies are needed (see --help)\n");
        return -1;
    }
    if (ret->n_never == 0 && add_default_never(ret) < 0)
        return -1;
    ret->is_following = ret->n_upstreams == 0;
    options_follow(ret);
    for (unsigned i = 0; i < ret->n_upstreams; i++)
        if (is_ours(&ret->upstreams[i], ret)) {
            fprintf(stderr, "runner-dns: --upstream: it would ask itself\n");
            return -1;
        }
    return 0;
}

static void usage(void)
{
    puts(
        "Usage: runner-dns --listen ADDRESS... --policies DIRECTORY [OPTION]...\n"
        "Forwards the DNS questions of guests, and tells the packet filter what the names stand for.\n\n"
        "  --listen ADDRESS     of the host, where guests ask; its interfaces say who they are\n"
        "  --policies DIRECTORY with a file for each guest, named by its address\n"
        "  --upstream ADDRESS[:PORT]  a server that is asked (default: those of " RESOLV_CONF ")\n"
        "  --never A.B.C.D/N    no listed name stands for an address in it (default: private and special ones)\n"
        "  --port PORT          where it listens (default: 53)\n"
        "  --resolv-conf FILE   names the servers where no --upstream does (default: " RESOLV_CONF ")\n"
        "  --keep FILE          serve in a process of its own, and in another whenever it ends; FILE says how it goes\n"
        "  --help, --version\n\nSee runner-dns(8).");
}

int options_read(int argc, char **argv, struct options *ret)
{
    static const struct option list[] = {{"listen", required_argument, NULL, 'l'},
                                         {"policies", required_argument, NULL, 'd'},
                                         {"upstream", required_argument, NULL, 'u'},
                                         {"never", required_argument, NULL, 'n'},
                                         {"port", required_argument, NULL, 'p'},
                                         {"keep", required_argument, NULL, 'k'},
                                         {"help", no_argument, NULL, 'h'},
                                         {"version", no_argument, NULL, 'v'},
                                         {"resolv-conf", required_argument, NULL, 'r'},
                                         {NULL, 0, NULL, 0}};
    int64_t port = 53;
    int option, status = 0;

    *ret = (struct options){.resolv_conf = RESOLV_CONF};
    while (status == 0 && (option = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (option) {
        case 'l':
            status = add_listen(optarg, ret);
            break;
        case 'd':
            ret->policies = optarg;
            break;
        case 'u':
            status = add_upstream(optarg, ret);
            break;
        case 'n':
            status = add_never(optarg, ret);
            break;
        case 'k':
            ret->state = optarg;
            break;
        case 'r':
            ret->resolv_conf = optarg;
            break;
        case 'p':
            status = num_int(optarg, 1, 65535, &port) ? 0 : wrong("--port", optarg, "a port");
            break;
        case 'h':
            usage();
            return 1;
        case 'v':
            puts("runner-dns " VERSION_TEXT);
            return 1;
        default:
            return -1;
        }
    }
    if (status == 0 && optind < argc)
        status = wrong("arguments", argv[optind], "an option");
    ret->port = (uint16_t)port;
    return status < 0 ? -1 : finish(ret);
}
