/* Of check-network: packets between guests, host and outside. */
#include "t/run/check-network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "kit/fake/host.h"
#include "t/run/plugin-host.h"

#define ABSENT_MS 150 /* how long a packet that must not come is waited for */

static uint8_t frame[FRAME_MAX], gateway_mac[6];
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static int udp_socket(const char *ip, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = ip_of(ip)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof in) < 0) {
        printf("Bail out! cannot bind %s:%u: %s\n", ip, port, strerror(errno));
        exit(1);
    }
    return fd;
}

static bool has_datagram(int fd, const char *text, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char buffer[256] = "";

    return poll(&p, 1, ms) > 0 && recv(fd, buffer, sizeof buffer - 1, 0) > 0 && strstr(buffer, text) != NULL;
}

/* The port forwards a moment after the TAP was opened, when the kernel has seen its carrier: asked again, as guests do.
 */
static bool find_gateway(const struct guest *g)
{
    for (int i = 0; i < COMING_MS / 100; i++) {
        send_arp(g, false, broadcast, g->ip, ip_of("10.0.0.1"));
        if (await_arp_reply(g, ip_of("10.0.0.1"), 100, gateway_mac))
            return true;
    }
    return false;
}

static void check_gateway(const struct guest *a, const struct guest *b)
{
    tap_ok(find_gateway(a) && find_gateway(b), "the gateway answers ARP");
    send_ping(a, gateway_mac, ip_of("10.0.0.1"), "ping-gateway");
    tap_ok(await_text(a, "ping-gateway", COMING_MS, frame) > 0, "the gateway answers ping");
}

/* The host dials a guest: its packets arrive, the replies pass, and only replies. */
static void check_host(const struct guest *a)
{
    auto_close int dialled = udp_socket("10.0.0.1", 4000), service = udp_socket("0.0.0.0", 5000);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(2280), .sin_addr.s_addr = a->ip};

    if (sendto(dialled, "host-asks", 9, 0, (struct sockaddr *)&to, sizeof to) != 9)
        tap_note("sendto: %s", strerror(errno));
    tap_ok(await_text(a, "host-asks", COMING_MS, frame) > 0, "the host reaches a guest");
    send_udp(a, gateway_mac, a->ip, ip_of("10.0.0.1"), 2280, 4000, "guest-replies");
    tap_ok(has_datagram(dialled, "guest-replies", COMING_MS), "the reply passes");
    send_udp(a, gateway_mac, a->ip, ip_of("10.0.0.1"), 2281, 5000, "guest-asks");
    send_udp(a, gateway_mac, a->ip, ip_of("203.0.113.1"), 2281, 5000, "guest-asks-uplink");
    tap_ok(!has_datagram(service, "guest-asks", ABSENT_MS),
           "a guest does not reach the host, at none of its addresses");
    must(PROGRAM("nft", "insert", "rule", "inet", "runner_br0", "input", "accept"));
    send_udp(a, gateway_mac, a->ip, ip_of("10.0.0.1"), 2282, 5000, "guest-asks-again");
    tap_ok(has_datagram(service, "guest-asks-again", COMING_MS), "(control: without the rule it does)");
    must(PROGRAM("nft", "flush", "chain", "inet", "runner_br0", "input"));
    must(PROGRAM("nft", "add", "rule", "inet", "runner_br0", "input", "iifname", "br0", "goto", "guest_in"));
}

static bool reaches(const struct guest *from, const struct guest *to, const char *text, int ms)
{
    send_udp(from, to->mac, from->ip, to->ip, 1, 2, text);
    send_udp(from, broadcast, from->ip, ip_of("10.0.0.255"), 1, 2, text);
    send_udp(from, gateway_mac, from->ip, to->ip, 1, 2, text); /* by way of the host's routing */
    return await_text(to, text, ms, frame) > 0;
}

static void check_guests(const struct guest *a, const struct guest *b, const struct runner_nic *nic_a,
                         const struct runner_nic *nic_b)
{
    static const struct runner_policy open = {.size = sizeof open};
    static const char *const hooks[] = {"pre", "fw", "post"};
    uint8_t told[6];

    tap_ok(!reaches(a, b, "a-to-b", ABSENT_MS) && !reaches(b, a, "b-to-a", ABSENT_MS),
           "s02: guests do not reach each other");
    send_arp(a, false, broadcast, a->ip, b->ip);
    tap_ok(!await_arp_reply(a, b->ip, ABSENT_MS, told), "s02: nor see each other's ARP");
    must(PROGRAM("ip", "link", "set", "dev", "tap-0c0ffee0-aa", "type", "bridge_slave", "isolated", "off"));
    tap_ok(!reaches(a, b, "a-to-b-2", ABSENT_MS), "s02: not even when a port's isolation is lost");
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
        must(PROGRAM("nft", "flush", "chain", "bridge", "runner_br0", hooks[i]));
    must(PROGRAM("nft", "insert", "rule", "inet", "runner_br0", "forward", "accept"));
    tap_ok(reaches(a, b, "a-to-b-3", COMING_MS), "(control: with neither flag nor rules they do)");
    must(PROGRAM("ip", "link", "set", "dev", "tap-0c0ffee0-aa", "type", "bridge_slave", "isolated", "on"));
    must(PROGRAM("nft", "delete", "table", "inet", "runner_br0"));
    must(PROGRAM("nft", "delete", "table", "bridge", "runner_br0"));
    tap_ok(setup() == 0 && apply(ID_A, nic_a, &open) == 0 && apply(ID_B, nic_b, &open) == 0 &&
               !reaches(a, b, "a-to-b-4", ABSENT_MS),
           "setup repairs the rules");
}

/* The kernel may count a frame a moment after it took it. */
static bool await_refused(const struct runner_nic *nic, uint64_t n)
{
    for (int64_t end = num_now_ms() + COMING_MS; refused(nic) != n; poll(NULL, 0, 50))
        if (num_now_ms() >= end) {
            tap_note("%llu refused, not %llu", (unsigned long long)refused(nic), (unsigned long long)n);
            return false;
        }
    return true;
}

static void check_outside(const struct guest *a, const struct runner_nic *nic, const struct guest *out)
{
    uint32_t there = ip_of("203.0.113.99"), ours = ip_of("203.0.113.1");
    uint8_t gateway_out[6];
    uint64_t before;
    size_t len;

    send_udp(a, gateway_mac, a->ip, there, 3000, 53, "to-outside");
    len = await_text(out, "to-outside", COMING_MS, frame);
    tap_ok(len > 0 && memcmp(frame + 26, &ours, 4) == 0, "a guest reaches the outside, masqueraded");
    memcpy(gateway_out, frame + 6, 6);
    send_udp(out, gateway_out, there, ours, 53, len > 0 ? (uint16_t)(frame[34] << 8 | frame[35]) : 0, "from-outside");
    tap_ok(await_text(a, "from-outside", COMING_MS, frame) > 0, "and the reply reaches it");
    send_udp(out, gateway_out, there, a->ip, 7, 7, "unasked");
    tap_ok(await_text(a, "unasked", ABSENT_MS, frame) == 0, "nothing unasked comes in");
    send_udp(a, gateway_mac, ip_of("192.0.2.77"), there, 3000, 53, "foreign-source");
    send_udp(a, gateway_mac, ip_of("10.0.0.1"), there, 3000, 53, "gateway-source");
    tap_ok(await_text(out, "-source", ABSENT_MS, frame) == 0, "nor do foreign source addresses go out");
    send_udp(a, gateway_mac, a->ip, ip_of("169.254.169.254"), 3000, 80, "metadata");
    tap_ok(await_text(out, "metadata", ABSENT_MS, frame) == 0, "nor do packets to link-local addresses");
    before = refused(nic);
    send_raw(a, gateway_mac, 0x86dd, "not-ipv4-------------------------------------------");
    send_raw(a, gateway_mac, 0x8100, "\x01\x01\x08\x01vlan-tagged---------------------------------------");
    tap_ok(await_refused(nic, before + 2), "frames that are neither IPv4 nor ARP are dropped");
}

void check_packets(const struct runner_nic *nic_a, const struct runner_nic *nic_b, const struct guest *out)
{
    struct guest a, b;

    guest_open(&a, nic_a->name, nic_a->mac, nic_a->address, false);
    guest_open(&b, nic_b->name, nic_b->mac, nic_b->address, false);
    check_gateway(&a, &b);
    check_host(&a);
    check_guests(&a, &b, nic_a, nic_b);
    check_outside(&a, nic_a, out);
    tap_ok(detach(ID_B, nic_b) == 0 && if_nametoindex(nic_b->name) == 0 && await_links(4 + count_idle()),
           "detach of a TAP that is still open deletes it");
    close(a.fd);
    close(b.fd);
}
