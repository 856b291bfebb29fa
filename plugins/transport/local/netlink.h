/* The few rtnetlink requests TAPs need. Any thread: each call has a socket of its own. All return 0 or a negative
 * errno. */
#ifndef NETLINK_H
#define NETLINK_H

#include <stdbool.h>

struct link_change {
    int index;
    int up;             /* 1 up, 0 down, -1 as it is */
    int master;         /* index of a bridge, 0 none, -1 as it is */
    const char *rename; /* NULL: as it is */
};

int netlink_change(const struct link_change *change);
/* The port's isolation flag. */
int netlink_isolate(int index, bool is_isolated);
int netlink_delete(int index);
/* Whether the link is a TAP (made by the tun driver): 1 or 0. */
int netlink_is_tap(int index);

#endif
