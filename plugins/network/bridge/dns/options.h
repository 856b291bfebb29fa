/* The command line of runner-dns, and /etc/resolv.conf. */
#ifndef DNS_OPTIONS_H
#define DNS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define OPTIONS_LISTENERS 8
#define OPTIONS_UPSTREAMS 3
#define OPTIONS_NEVER     256

struct upstream {
    struct sockaddr_storage address;
    socklen_t len;
};

struct options {
    uint32_t listen[OPTIONS_LISTENERS]; /* host order */
    unsigned n_listen;
    uint16_t port;
    const char *policies;
    const char *state;       /* NULL: one process, that ends when it ends */
    const char *resolv_conf; /* its servers are asked, when none was named */
    bool is_following;
    struct upstream upstreams[OPTIONS_UPSTREAMS];
    unsigned n_upstreams;
    struct {
        uint32_t address, mask; /* host order */
    } never[OPTIONS_NEVER];
    unsigned n_never;
};

/* -1: what is wrong was said; 1: --help or --version was answered. */
int options_read(int argc, char **argv, struct options *ret);
/* The servers that resolv.conf names now, if none was named; there may be none. */
void options_follow(struct options *options);

#endif
