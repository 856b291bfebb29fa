/* Ethernet frames of pretended guests, written to and read from TAPs. For check programs in a network namespace. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 2048

struct guest { /* one end of a wire: what holds the TAP */
    int fd;
    uint8_t mac[6];
    uint32_t ip; /* network order */
};

/* Opens the TAP of that name (make: a new one that goes with the descriptor); ends the program when it cannot. */
void guest_open(struct guest *g, const char *tap, const char *mac, const char *ip, bool make);

uint32_t ip_of(const char *text); /* network order */

void send_arp(const struct guest *g, bool is_reply, const uint8_t to_mac[6], uint32_t sender_ip, uint32_t target_ip);
void send_udp(const struct guest *g, const uint8_t to_mac[6], uint32_t from, uint32_t to, uint16_t from_port,
              uint16_t to_port, const char *text);
void send_ping(const struct guest *g, const uint8_t to_mac[6], uint32_t to, const char *text);
void send_raw(const struct guest *g, const uint8_t to_mac[6], uint16_t ether_type, const char *text);

/* Reads until a frame holds text (and, meanwhile, answers ARP requests for the guest's address): its length, 0 when
 * none came in ms. */
size_t await_text(const struct guest *g, const char *text, int ms, uint8_t frame[FRAME_MAX]);
/* An ARP reply for that address: whether one came, and the hardware address it told. */
bool await_arp_reply(const struct guest *g, uint32_t ip, int ms, uint8_t ret_mac[6]);

#endif
