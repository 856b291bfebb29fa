/* The bridges of one network: the first has the name that the configuration gives, further ones are made when their ports run
 * short, and stay. All have the gateway's addresses; the first has the route to the network, and a guest on another has a
 * route of its own. They are told from others' by their name and their group of interfaces. */
#ifndef BRIDGES_H
#define BRIDGES_H

#include "plugins/network/bridge/bridge.h"
#include "plugins/network/bridge/places.h"

/* "br0", "br0-2", "br0-3", ... */
void bridges_name(const struct bridge *b, unsigned bridge, char ret[IFNAME_SIZE]);
/* The names of all there are, with this between. */
void bridges_list(const struct bridge *b, const char *between, struct str *ret);

/* Those that there are, as `ip -j link show type bridge` prints them (NULL: nothing): names knows them from now on. Those
 * that names knew before, and that are gone, stay known, since setup makes them again. */
void bridges_found(const struct bridge *b, const struct json *links);
/* Who is on which, and how many others: names knows from now on. */
struct ports;
void bridges_count(const struct bridge *b, const struct ports *ports);
/* One more where few ports are left. -1: it cannot be made, and no port is left. Waits for another thread that makes one. */
int bridges_grow(struct bridge *b, struct runner_call *call, struct runner_error *err);

struct port { /* an interface on a bridge */
    char name[IFNAME_SIZE], mac[18]; /* mac: its own, as text */
    int bridge;                      /* -1: none */
    bool is_up;
};

struct ports { /* sorted by name */
    struct port *list;
    size_t n;
};

/* ports.c. What is on the bridges that there are; type: of interfaces, "tun" or "veth", and then also those that are on no bridge at
 * all; NULL: all that are on one. */
int ports_read(const struct bridge *b, struct runner_call *call, const char *type, struct ports *ret,
               struct runner_error *err);
void ports_done(struct ports *p);
const struct port *ports_find(const struct ports *p, const char *name); /* NULL: it is not there */
/* Adds a question whether there is an interface of that name at all: status 1: there is none. The step's index. */
int ports_ask_for(const char *name, struct runner_batch *batch, struct runner_error *err);

#endif
