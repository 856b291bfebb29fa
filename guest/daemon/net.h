/* The guest's network: interface, address, route, name and name servers. Needs root. */
#ifndef GUEST_NET_H
#define GUEST_NET_H

#include "guest/daemon/seed.h"

/* Brings lo up. */
int net_loopback(struct runner_error *err);
/* Finds the device (by MAC, else the first that is not lo), gives it the address, brings it up, adds the default route.
 */
int net_configure(const struct seed_network *n, struct runner_error *err);
/* Sends the gateway an empty datagram, for the ARP request that goes ahead of it: whoever has asked for the guest's address
 * too early (the runner does, from the start) learns it now and is answered at once. Its server should listen by then. */
void net_greet(const struct seed_network *n);
/* Host name, /etc/hostname, /etc/hosts, /etc/resolv.conf. */
int net_name(const struct seed *s, struct runner_error *err);

/* Texts of the two files, for net_name. */
void net_hosts_text(const struct seed *s, struct str *out);
void net_resolv_text(const struct seed_network *n, struct str *out);

#endif
