#include "t/run/frames.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/util/num.h"

#define VNET 12 /* the header before each frame */
#define ETH  14
#define IPV4 20

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

uint32_t ip_of(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1 ? address.s_addr : 0;
}

void guest_open(struct guest *g, const char *tap, const char *mac, const char *ip, bool make)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (make ? IFF_TUN_EXCL : 0))};
    int header = VNET;

    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", tap);
    g->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    g->ip = ip_of(ip);
    if (g->fd < 0 || ioctl(g->fd, TUNSETIFF, &request) < 0 || ioctl(g->fd, TUNSETVNETHDRSZ, &header) < 0 ||
        sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &g->mac[0], &g->mac[1], &g->mac[2], &g->mac[3], &g->mac[4],
               &g->mac[5]) != 6) {
        printf("Bail out! cannot open tap '%s'\n", tap);
        exit(1);
    }
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint16_t checksum(const uint8_t *data, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += (uint32_t)data[i] << (i % 2 == 0 ? 8 : 0);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void send_frame(const struct guest *g, const uint8_t to_mac[6], uint16_t ether_type, const uint8_t *body,
                       size_t len)
{
    uint8_t frame[VNET + FRAME_MAX] = {0};

    memcpy(frame + VNET, to_mac, 6);
    memcpy(frame + VNET + 6, g->mac, 6);
    put16(frame + VNET + 12, ether_type);
    memcpy(frame + VNET + ETH, body, len);
    if (write(g->fd, frame, VNET + ETH + len) < 0)
        perror("# write to tap");
}

void send_arp(const struct guest *g, bool is_reply, const uint8_t to_mac[6], uint32_t sender_ip, uint32_t target_ip)
{
    uint8_t body[28] = {0, 1, 8, 0, 6, 4, 0, is_reply ? 2 : 1};

    memcpy(body + 8, g->mac, 6);
    memcpy(body + 14, &sender_ip, 4);
    memcpy(body + 18, to_mac, is_reply ? 6 : 0);
    memcpy(body + 24, &target_ip, 4);
    send_frame(g, is_reply ? to_mac : broadcast, 0x0806, body, sizeof body);
}

static void send_ip(const struct guest *g, const uint8_t to_mac[6], uint32_t from, uint32_t to, uint8_t protocol,
                    const uint8_t *body, size_t len)
{
    uint8_t packet[FRAME_MAX - ETH] = {0x45};

    put16(packet + 2, (uint16_t)(IPV4 + len));
    packet[8] = 64;
    packet[9] = protocol;
    memcpy(packet + 12, &from, 4);
    memcpy(packet + 16, &to, 4);
    put16(packet + 10, checksum(packet, IPV4));
    memcpy(packet + IPV4, body, len);
    send_frame(g, to_mac, 0x0800, packet, IPV4 + len);
}

void send_udp(const struct guest *g, const uint8_t to_mac[6], uint32_t from, uint32_t to, uint16_t from_port,
              uint16_t to_port, const char *text)
{
    uint8_t body[256] = {0}; /* checksum 0: none */
    size_t len = strlen(text);

    put16(body, from_port);
    put16(body + 2, to_port);
    put16(body + 4, (uint16_t)(8 + len));
    memcpy(body + 8, text, len);
    send_ip(g, to_mac, from, to, 17, body, 8 + len);
}

void send_ping(const struct guest *g, const uint8_t to_mac[6], uint32_t to, const char *text)
{
    uint8_t body[256] = {8};
    size_t len = strlen(text);

    memcpy(body + 8, text, len);
    put16(body + 2, checksum(body, 8 + len));
    send_ip(g, to_mac, g->ip, to, 1, body, 8 + len);
}

void send_raw(const struct guest *g, const uint8_t to_mac[6], uint16_t ether_type, const char *text)
{
    send_frame(g, to_mac, ether_type, (const uint8_t *)text, strlen(text));
}

/* One frame, without the header before it; 0: none came in time. */
static size_t read_frame(const struct guest *g, int64_t end_ms, uint8_t frame[FRAME_MAX])
{
    uint8_t buffer[VNET + FRAME_MAX];
    struct pollfd p = {.fd = g->fd, .events = POLLIN};

    for (;;) {
        ssize_t n = read(g->fd, buffer, sizeof buffer);
        int64_t left = end_ms - num_now_ms();

        if (n > VNET + ETH) {
            memcpy(frame, buffer + VNET, (size_t)n - VNET);
            return (size_t)n - VNET;
        }
        if (left <= 0 || poll(&p, 1, (int)left) < 0)
            return 0;
    }
}

static void answer_arp(const struct guest *g, const uint8_t *frame, size_t len)
{
    uint32_t asked, asker;

    if (len < ETH + 28 || frame[12] != 8 || frame[13] != 6 || frame[ETH + 7] != 1)
        return;
    memcpy(&asker, frame + ETH + 14, 4);
    memcpy(&asked, frame + ETH + 24, 4);
    if (asked == g->ip)
        send_arp(g, true, frame + 6, g->ip, asker);
}

size_t await_text(const struct guest *g, const char *text, int ms, uint8_t frame[FRAME_MAX])
{
    int64_t end = num_now_ms() + ms;
    size_t len;

    while ((len = read_frame(g, end, frame)) > 0) {
        if (memmem(frame, len, text, strlen(text)) != NULL)
            return len;
        answer_arp(g, frame, len);
    }
    return 0;
}

bool await_arp_reply(const struct guest *g, uint32_t ip, int ms, uint8_t ret_mac[6])
{
    int64_t end = num_now_ms() + ms;
    uint8_t frame[FRAME_MAX];
    size_t len;

    while ((len = read_frame(g, end, frame)) > 0) {
        if (len < ETH + 28 || frame[12] != 8 || frame[13] != 6 || frame[ETH + 7] != 2 ||
            memcmp(frame + ETH + 14, &ip, 4) != 0)
            continue;
        memcpy(ret_mac, frame + ETH + 8, 6);
        return true;
    }
    return false;
}
