/* Processors that come while the machine runs: the kernel says so, and leaves it to us to take them into use. */
#ifndef GUEST_HOTPLUG_H
#define GUEST_HOTPLUG_H

#include <stddef.h>

/* A descriptor that becomes readable when the kernel has something to say of devices; -1: it says nothing here. */
int hotplug_open(void);
/* Reads what waits in the descriptor, and brings the processors online that came. */
void hotplug_take(int fd);

/* The number of the processor that came, by a message of the kernel ("add@/devices/system/cpu/cpu1", NUL, more); -1: it
 * tells of something else. */
int hotplug_cpu_of(const char *message, size_t len);

#endif
