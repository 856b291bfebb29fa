/*
 * Where the guests of a fake Cloud Hypervisor are met, which has neither TAP nor bridge: the last three bytes of a MAC
 * address make an address of loopback, 127.1.0.1 to 127.254.255.254. t/plugin/loopback-net.c tells the runner so. The
 * port is the daemon's, or, so that tests that run side by side do not meet at one address, what stands in <the
 * fake>.port and in the plugin's parameter "port".
 */
#ifndef FAKE_LOOPBACK_H
#define FAKE_LOOPBACK_H

#include <stdint.h>
#include <stdio.h>

#define LOOPBACK_PORT 2280

/* In host byte order; 0 when that is no MAC address. */
static inline uint32_t loopback_address(const char *mac)
{
    unsigned a, b, c;

    if (sscanf(mac, "%*2x:%*2x:%*2x:%2x:%2x:%2x", &a, &b, &c) != 3)
        return 0;
    return 127u << 24 | (1 + a % 254) << 16 | b << 8 | (1 + c % 254);
}

#endif
