/* The end of interfaces. The kernel takes some 16 ms for one, as long as for a thousand at once: so they go in groups, and
 * nobody waits for it. Any thread. */
#ifndef GRAVE_H
#define GRAVE_H

#define GRAVE_NAME "tapd-%d" /* what they are called until then */

struct grave;
struct netlink;

struct grave *grave_new(void);
/* All that are in it go first. Takes NULL. */
void grave_free(struct grave *grave);
/* The interface is down, off its bridge and without its name when this returns, and gone soon. netlink: to ask with. 0 or
 * a negative errno. */
int grave_bury(struct grave *grave, struct netlink *netlink, int index);

#endif
