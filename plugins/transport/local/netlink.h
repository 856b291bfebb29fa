/* The few rtnetlink requests TAPs need. Any thread: who uses it has a socket of its own. All that may fail return 0 or a
 * negative errno. */
#ifndef NETLINK_H
#define NETLINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/cleanup.h"

#define MAC_BYTES        6
#define NETLINK_REQUESTS 8 /* that go together */

/* Requests that are sent at once. The kernel carries out each, whether or not the one before it failed. */
struct netlink {
    int fd;
    size_t len, last; /* last: where the last of them begins */
    unsigned n;
    const char *what[NETLINK_REQUESTS]; /* each is about */
    union { /* they and the answer; one about a link is less than 4 KiB without IFLA_EXT_MASK */
        uint32_t aligned;
        char bytes[8192]; /* NLMSG_GOODSIZE */
    };
};

int netlink_open(struct netlink *n);
void netlink_close(struct netlink *n);
/* ret_what: what the first that failed was about; may be NULL. Behind it more can be asked. */
int netlink_send(struct netlink *n, const char **ret_what);
/* The index of an interface; none: -ENODEV. */
int netlink_index(const struct netlink *n, const char *name);
/* Its IFF_ flags. */
int netlink_flags(const struct netlink *n, const char *name, unsigned *ret);
/* Whether it is of the tun driver; false also where that is not known. */
bool netlink_is_tun(const struct netlink *n, const char *name);
/* Whether it has this MAC address; false also where that is not known. */
bool netlink_has_mac(const struct netlink *n, const char *name, const uint8_t mac[MAC_BYTES]);

struct link_change {
    int index;
    int up;             /* 1 up, 0 down, -1 as it is */
    int master;         /* index of a bridge, 0 none, -1 as it is */
    const char *rename; /* NULL: as it is; with %d the kernel gives a number */
    int64_t group;      /* -1: as it is */
    const uint8_t *mac; /* of the link itself; NULL: as it is */
};

void netlink_change(struct netlink *n, const struct link_change *change);
/* The port's isolation flag; is_bound: it also takes frames of known MAC addresses only, and learns none. What has no
 * known address goes to a bound port only when guests may speak to each other. */
void netlink_port(struct netlink *n, int index, bool is_isolated, bool is_bound);
/* Whether a bound port is for that MAC address. */
void netlink_forward(struct netlink *n, int index, const uint8_t mac[MAC_BYTES], bool is_for);
/* Whom an address belongs to, for as long as nobody says otherwise; mac NULL: nobody. */
void netlink_neighbour(struct netlink *n, int bridge, struct in_addr address, const uint8_t *mac);
/* Whether it is reached by this bridge, whatever other routes say. Gone already: -ESRCH. */
void netlink_route(struct netlink *n, int bridge, struct in_addr address, bool is_there);
void netlink_delete(struct netlink *n, int index);
/* A pair in the namespace of the socket, of which the other end is in another, with a number that the kernel chooses. Name
 * or number taken: -EEXIST. */
void netlink_veth(struct netlink *n, const char *name, int number, const char *other, int other_netns);
/* All links of the group at once; none: -ENODEV. */
void netlink_delete_group(struct netlink *n, uint32_t group);

struct link_state {
    bool is_tap;    /* made by the tun driver */
    bool is_other;  /* a veth or an ifb */
    int bridge;     /* that it is a port of; 0: none */
    bool has_group; /* of users that may open it */
    bool is_open;   /* it has a carrier, which a TAP has from somebody who has it open */
};
int netlink_look(struct netlink *n, int index, struct link_state *ret);

#endif
