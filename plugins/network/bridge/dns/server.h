/* Where guests ask and are answered. One thread, one loop. */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "plugins/network/bridge/dns/guests.h"
#include "plugins/network/bridge/dns/message.h"
#include "plugins/network/bridge/dns/options.h"

struct server;
struct conn; /* a guest's connection; server.c */
struct lookup;

struct listener { /* at an address, by one of the interfaces that have it */
    struct listener *next;
    struct server *server;
    uint32_t address; /* host order */
    int fd;           /* for UDP */
    struct event *event;
    struct evconnlistener *tcp;
    struct guests *guests; /* of the address's network, whichever interface they ask by */
};

struct server {
    struct event_base *base;
    const struct options *options;
    struct listener *listeners;
    struct guests *guests[OPTIONS_LISTENERS];
    int policies; /* the directory */
    int nft;      /* a socket to the kernel's packet filter */
    unsigned n_lookups, lookups_max;
};

/* Opens what needs privileges. -1: what failed was said. */
int server_open(struct server *server, const struct options *options);
/* Answers until a signal says stop. */
int server_run(struct server *server);
void server_close(struct server *server);

struct client { /* whose question it is */
    struct listener *listener;
    struct sockaddr_in address;
    struct conn *conn; /* NULL: by UDP */
};

/* The answer to a question for which guests_begin() was true; data NULL: there is none. lookup.c is done with it then. */
void server_reply(const struct client *client, const uint8_t *data, size_t len);

/* lookup.c: asks the servers above, and answers by server_reply(): now, or later. NULL: it has already. */
struct lookup *lookup_begin(const struct client *client, const struct question *q);
/* Nobody waits for it any more. */
void lookup_cancel(struct lookup *lookup);

#endif
