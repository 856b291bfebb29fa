/* What a guest sends that its own network would not, and what comes to it. Runs in a guest, as root:
 *
 *   udp FROM FROM_PORT TO TO_PORT TEXT    IPv4 from any address; the guest's kernel decides on the MAC addresses
 *   udp6 TEXT                             to all nodes of the link, port 5000
 *   advertise TEXT                        a router's advertisement, to all nodes of the link
 *   listen FILE                           in the background: the texts of the three, a line each, in their order */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 5000
#define LINK "eth0"

static void must(int is_fine, const char *what)
{
    if (is_fine)
        return;
    perror(what);
    exit(1);
}

static void send_udp(char **word)
{
    struct {
        struct iphdr ip;
        struct udphdr udp;
        char text[256];
    } packet = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP}};
    struct sockaddr_in to = {.sin_family = AF_INET};
    size_t len = strnlen(word[4], sizeof packet.text);
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), on = 1;

    must(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) == 0, "raw socket");
    must(inet_pton(AF_INET, word[0], &packet.ip.saddr) == 1 && inet_pton(AF_INET, word[2], &packet.ip.daddr) == 1,
         "address");
    packet.udp.source = htons((uint16_t)atoi(word[1]));
    packet.udp.dest = htons((uint16_t)atoi(word[3]));
    packet.udp.len = htons((uint16_t)(sizeof packet.udp + len));
    memcpy(packet.text, word[4], len);
    to.sin_addr.s_addr = packet.ip.daddr;
    must(sendto(fd, &packet, sizeof packet.ip + sizeof packet.udp + len, 0, (struct sockaddr *)&to, sizeof to) > 0,
         "send");
}

static struct sockaddr_in6 all_nodes(uint16_t port)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    to.sin6_scope_id = if_nametoindex(LINK);
    must(inet_pton(AF_INET6, "ff02::1", &to.sin6_addr) == 1 && to.sin6_scope_id != 0, LINK);
    return to;
}

static void send_udp6(const char *text)
{
    struct sockaddr_in6 to = all_nodes(PORT);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    must(fd >= 0 && sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to) > 0, "send");
}

static void send_advertisement(const char *text)
{
    struct {
        struct nd_router_advert head; /* of no router: a lifetime of 0 */
        char text[256];
    } packet = {.head = {.nd_ra_hdr.icmp6_type = ND_ROUTER_ADVERT}};
    struct sockaddr_in6 to = all_nodes(0);
    size_t len = strnlen(text, sizeof packet.text);
    int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), hops = 255;

    memcpy(packet.text, text, len);
    must(fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) == 0, "raw socket");
    must(sendto(fd, &packet, sizeof packet.head + len, 0, (struct sockaddr *)&to, sizeof to) > 0, "send");
}

static void keep(int fd, size_t skip, int to)
{
    char text[2048];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);

    if (n <= (ssize_t)skip || (skip > 0 && text[0] != (char)ND_ROUTER_ADVERT))
        return;
    if (text[n - 1] != '\n')
        text[n++] = '\n';
    must(write(to, text + skip, (size_t)n - skip) > 0, "write");
}

static void listen_for_all(const char *path)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    struct pollfd from[] = {{socket(AF_INET6, SOCK_DGRAM, 0), POLLIN, 0},
                            {socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), POLLIN, 0}};

    must(to >= 0 && bind(from[0].fd, (struct sockaddr *)&any, sizeof any) == 0 && from[1].fd >= 0, "listen");
    must(daemon(0, 0) == 0, "daemon");
    while (poll(from, 2, -1) > 0) {
        if (from[1].revents)
            keep(from[1].fd, sizeof(struct nd_router_advert), to);
        if (from[0].revents)
            keep(from[0].fd, 0, to);
    }
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "udp") == 0)
        send_udp(argv + 2);
    else if (argc == 3 && strcmp(argv[1], "udp6") == 0)
        send_udp6(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "advertise") == 0)
        send_advertisement(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "listen") == 0)
        listen_for_all(argv[2]);
    else
        return 2;
    return 0;
}
