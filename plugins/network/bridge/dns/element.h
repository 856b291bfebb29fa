/* Addresses in a set of nftables with a time-out (family bridge). Blocks for the kernel's answer, which is microseconds. */
#ifndef DNS_ELEMENT_H
#define DNS_ELEMENT_H

#include <stdint.h>

/* The socket to the kernel; -1 with errno. */
int element_open(void);
/* The address is in the set for at least so long, whether it was before or not. 0, or -1 with errno (ENOENT: no such set;
 * EINVAL: a set that has no time-outs). */
int element_add(int socket, const char *table, const char *set, uint32_t address, uint64_t timeout_ms);
/* It is not. Absent, or no such set: fine. */
int element_remove(int socket, const char *table, const char *set, uint32_t address);

#endif
