/* Inside of transport/local: TAPs. A TAP is open where a VMM has it, or the runner holds a queue of it for one. */
#ifndef TAP_H
#define TAP_H

#include "plugins/transport/local/local.h"

/* A longer one the kernel would cut, and so hit another sandbox's interface. */
int tap_check_name(const char *name, struct runner_error *err);

/* A queue of the TAP of this name, which is made when there is none, and goes with the descriptor then. 0 or a negative
 * errno: EBUSY when another has it open, or, with IFF_TUN_EXCL, when it is there. number: the interface's, of a new one;
 * 0: the kernel chooses. */
int tap_open(const char *name, short flags, unsigned number, int *ret_fd);
/* Whose it is, and what its frames are like. 0 or a negative errno. */
int tap_set(int fd, uid_t owner);
/* Of an interface that is down, in the network namespace of the thread; or "all" and "default". */
void tap_disable_ipv6(const char *name);

/*
 * The kernel waits, under its lock of all interfaces, when a queue of one that is up is closed: 0.4 to 8 ms beside a busy
 * processor. So the queue by which a TAP was set up can be the one that its VMM gets. Takes fd.
 */
void tap_keep(struct local *self, const char *name, int fd);
/* None is kept: fine. */
void tap_drop(struct local *self, const char *name);

#endif
