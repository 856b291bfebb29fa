/* The few rtnetlink requests TAPs need. Any thread: each call has a socket of its own. All return 0 or a negative
 * errno. */
#ifndef NETLINK_H
#define NETLINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define MAC_BYTES 6

struct link_change {
    int index;
    int up;             /* 1 up, 0 down, -1 as it is */
    int master;         /* index of a bridge, 0 none, -1 as it is */
    const char *rename; /* NULL: as it is; with %d the kernel gives a number */
    uint32_t group;     /* 0: as it is */
};

int netlink_change(const struct link_change *change);
/* The port's isolation flag; is_bound: it also takes frames of known MAC addresses only, and learns none. What has no
 * known address goes to a bound port only when guests may speak to each other. */
int netlink_port(int index, bool is_isolated, bool is_bound);
/* The one MAC address that a bound port is for. */
int netlink_forward_to(int index, const uint8_t mac[MAC_BYTES]);
/* Whom an address belongs to, for as long as nobody says otherwise; mac NULL: nobody. */
int netlink_neighbour(int bridge, struct in_addr address, const uint8_t *mac);
int netlink_delete(int index);
/* All links of the group at once; none: -ENODEV. */
int netlink_delete_group(uint32_t group);
/* Whether the link is a TAP (made by the tun driver): 1 or 0. */
int netlink_is_tap(int index);
/* Whether the link is of that driver: "veth", "ifb". */
int netlink_is_kind(int index, const char *kind);
/* A pair in the namespace of the thread, of which the other end is in another, with a number that the kernel chooses. Name
 * or number taken: -EEXIST. */
int netlink_veth(const char *name, int number, const char *other, int other_netns);

#endif
