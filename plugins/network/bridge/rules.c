/* The nftables rules of one bridge: two tables of its own, nothing outside them is touched. */
#include "plugins/network/bridge/names.h"

#include <arpa/inet.h>
#include <string.h>

/* What is in both tables' way is known by measurement: not every kernel's bridge family has ibrname, so it goes by the
 * names and the group of the TAPs; the type of a frame is asked by `ether type`, since `meta protocol` looks inside a VLAN
 * tag. nft takes chains in any order. */

void rules_table(const struct bridge *b, struct str *ret)
{
    str_add(ret, "runner_");
    for (const char *p = b->name; *p != '\0'; p++)
        str_add_char(ret, *p == '-' || *p == '.' ? '_' : *p);
}

static void add_ranges(const struct ranges *r, struct str *s)
{
    for (size_t i = 0; i < r->n; i++) {
        struct in_addr first = {htonl(r->list[i].first)}, last = {htonl(r->list[i].last)};
        char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

        (void)inet_ntop(AF_INET, &first, from, sizeof from);
        (void)inet_ntop(AF_INET, &last, to, sizeof to);
        str_addf(s, "%s%s", i == 0 ? "" : ", ", from);
        if (r->list[i].first != r->list[i].last)
            str_addf(s, "-%s", to);
    }
}

static void add_range_set(const char *name, const struct ranges *r, struct str *s)
{
    str_addf(s, "  set %s {\n    type ipv4_addr\n    flags interval\n", name);
    if (r->n > 0) {
        str_add(s, "    elements = { ");
        add_ranges(r, s);
        str_add(s, " }\n");
    }
    str_add(s, "  }\n");
}

/* Who is where, and what each may: the elements are set by plan.c. A port without any is closed. A port that is open or
 * limited is in two sets of that name, and no packet is looked for in `plain`: see plan.c. */
static void add_sets(const struct bridge *b, struct str *s)
{
    str_add(s, "  set ident {\n    type ifname . ether_addr . ipv4_addr\n    counter\n  }\n"
               "  set omac {\n    type ifname . ether_addr\n    counter\n  }\n"
               "  set refused {\n    type ifname\n    counter\n  }\n"
               "  set open {\n    type ifname\n  }\n"
               "  set open_too {\n    type ifname\n  }\n"
               "  set limited {\n    type ifname\n  }\n"
               "  set limited_too {\n    type ifname\n  }\n"
               "  set plain {\n    type ifname\n  }\n"
               "  map lists {\n    type ifname : verdict\n  }\n"
               "  map lists_in {\n    type ifname : verdict\n  }\n"
               "  map rates {\n    type ifname : verdict\n  }\n"
               "  map rates_in {\n    type ifname : verdict\n  }\n"
               "  set arps {\n    type ifname\n    size 65535\n    flags dynamic,timeout\n    timeout 1m\n  }\n");
    str_addf(s, "  set host {\n    type ipv4_addr\n    elements = { %s }\n  }\n", b->address);
    add_range_set("never", &b->never, s);
    if (b->restricted.n > 0)
        add_range_set("restricted", &b->restricted, s);
}

/* The ports of this bridge: those of its group, and those that an older runner made. Those of another bridge, which has
 * rules of its own, are in another group. */
static void add_hook(const char *chain, const char *hook, const char *priority, const char *way, const char *to,
                     const struct bridge *b, struct str *s)
{
    str_addf(s, "  chain %s {\n    type filter hook %s priority %s; policy accept;\n", chain, hook, priority);
    str_addf(s, "    %sname \"tap-*\" %sgroup { 0, %u } goto %s\n  }\n", way, way, b->group, to);
}

/* What a guest sends: IPv4 and ARP only, as itself only, to where it may only. Decided without a memory of connections, so
 * that a change is at once in force for those that are open. */
static void add_from_guest(const struct bridge *b, struct str *s)
{
    add_hook("pre", "prerouting", "-300", "iif", "guest", b, s);
    /* To the addresses that bridges do not forward, those of STP, LLDP and the like: a bridge gives them to the host past its
     * prerouting, and past itself, as what came in by the port; what is IPv4 within would be the host's to answer. */
    str_add(
        s,
        "  chain link {\n    type filter hook input priority -300; policy accept;\n"
        "    meta pkttype multicast ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 "); /* cheap first: for most */
    str_addf(s, "iifname \"tap-*\" iifgroup { 0, %u } goto refuse\n  }\n", b->group);
    str_add(s, "  chain guest {\n"
               "    ether type arp goto guest_arp\n"
               "    ether type != ip goto refuse\n"
               "    iifname . ether saddr . ip saddr @ident goto known\n" /* which counts; a lookup with != does not */
               "    goto refuse\n"
               "  }\n"
               "  chain known {\n"
               "    iifname vmap @rates\n"
               "    udp sport 67 goto refuse\n"
               "    ip daddr @host accept\n"); /* the inet table decides */
    if (!b->is_isolating)
        str_addf(s, "    ip daddr %s accept\n", b->subnet);
    str_add(s, "    ip daddr @never goto refuse\n"
               "    iifname @limited_too iifname @limited jump limits\n"
               "    iifname @open_too iifname @open accept\n"
               "    iifname vmap @lists\n"
               "    goto refuse\n"
               "  }\n"
               "  chain guest_arp {\n"
               "    add @arps { iifname limit rate over 200/second burst 100 packets } goto refuse\n");
    str_add(
        s, "    arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply } "
           "iifname . ether saddr . arp saddr ip @ident iifname . arp saddr ether . arp saddr ip @ident arp daddr ip ");
    str_addf(s, "%s accept\n", b->is_isolating ? "@host" : b->subnet);
    str_add(s, "    goto refuse\n"
               "  }\n"
               "  chain refuse {\n"
               "    iifname @refused drop\n" /* which counts */
               "    counter drop\n"
               "  }\n");
}

/* What it gets: for its own MAC address only, whatever its VMM made the bridge believe; from the host, and from where it
 * may speak to. */
static void add_to_guest(const struct bridge *b, struct str *s)
{
    if (b->is_isolating) { /* the port flag does it already; this holds when somebody clears the flag */
        str_add(s, "  chain fw {\n"
                   "    type filter hook forward priority -300; policy accept;\n"
                   "    iifname \"tap-*\" oifname \"tap-*\" counter drop\n"
                   "  }\n");
    }
    add_hook("post", "postrouting", "300", "oif", "to_guest", b, s);
    str_add(s, "  chain to_guest {\n");
    if (!b->is_isolating)
        str_add(s, "    ether daddr ff:ff:ff:ff:ff:ff accept\n");
    str_add(s, "    oifname . ether daddr @omac goto to_own\n"
               "    goto refuse_in\n"
               "  }\n"
               "  chain to_own {\n"
               "    oifname vmap @rates_in\n"
               "    ether type arp accept\n"
               "    ether type != ip goto refuse_in\n"
               "    ip saddr @host accept\n");
    if (!b->is_isolating)
        str_addf(s, "    ip saddr %s accept\n", b->subnet);
    str_add(s, "    oifname @limited_too oifname @limited jump limits_in\n"
               "    oifname @open_too oifname @open accept\n"
               "    oifname vmap @lists_in\n"
               "    goto refuse_in\n"
               "  }\n"
               "  chain refuse_in {\n"
               "    counter drop\n"
               "  }\n");
}

/* Of an organization with a limit: marked, as Daytona's runner marks it, and to the addresses of a list, if there is one. */
static void add_limits(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain limits {\n");
    if (b->restricted_mark != 0)
        str_addf(s, "    meta mark set %lld\n", (long long)b->restricted_mark);
    if (b->restricted.n > 0)
        str_add(s, "    ip daddr != @restricted goto refuse\n");
    str_add(s, "  }\n"
               "  chain limits_in {\n");
    if (b->restricted.n > 0)
        str_add(s, "    ip saddr != @restricted goto refuse_in\n");
    str_add(s, "  }\n");
}

/* A connection, of which each guest may have so many. */
#define TOO_MANY "ct state new add @flows { ip saddr ct count over 4096 } counter drop\n"

/* What comes by a port is the bridge's, and nobody else's. */
static void add_strays(const struct bridge *b, struct str *s)
{
    str_addf(s, "    iifname \"tap-*\" iifgroup %u counter drop\n", b->group);
}

/* The elements are set by setup.c: a bridge has rules before it is there. */
static void add_bridges(struct str *s)
{
    str_add(s, "  set " RULES_BRIDGES " {\n    type ifname\n  }\n");
}

/* To the host: replies to what it dialled, ping, and questions for names. */
static void add_input(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain input {\n"
               "    type filter hook input priority -10; policy accept;\n");
    str_add(s, "    iifname @" RULES_BRIDGES " goto guest_in\n");
    add_strays(b, s);
    str_add(s, "  }\n"
               "  chain guest_in {\n"
               "    ct state established ct direction reply accept\n");
    str_addf(s, "    icmp type echo-request ip daddr %s limit rate 100/second accept\n", b->address);
    if (b->has_forwarder) {
        str_addf(s, "    ip daddr %s meta l4proto { tcp, udp } th dport 53 " TOO_MANY, b->address);
        str_addf(s, "    ip daddr %s meta l4proto { tcp, udp } th dport 53 accept\n", b->address);
    }
    str_add(s, "    counter drop\n"
               "  }\n");
}

/* To other guests: nothing. To the outside: own addresses only. From the outside: replies. */
static void add_forward(const struct bridge *b, struct str *s)
{
    str_add(s, "  set flows {\n"
               "    type ipv4_addr\n"
               "    size 65536\n"
               "    flags dynamic\n"
               "  }\n"
               "  chain forward {\n"
               "    type filter hook forward priority -10; policy accept;\n");
    add_strays(b, s);
    str_addf(s, "    iifname @" RULES_BRIDGES " oifname @" RULES_BRIDGES " counter %s\n",
             b->is_isolating ? "drop" : "accept");
    str_add(s, "    iifname @" RULES_BRIDGES " meta nfproto ipv6 counter drop\n");
    str_addf(s, "    iifname @" RULES_BRIDGES " ip saddr != %s counter drop\n", b->subnet);
    str_add(s, "    iifname @" RULES_BRIDGES " ip daddr 169.254.0.0/16 counter drop\n"
               "    iifname @" RULES_BRIDGES " " TOO_MANY
               "    oifname @" RULES_BRIDGES " ct state established,related accept\n"
               "    oifname @" RULES_BRIDGES " counter drop\n");
    str_add(s, "  }\n");
}

static void add_nat(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain post {\n"
               "    type nat hook postrouting priority srcnat; policy accept;\n");
    str_addf(s, "    iifname @" RULES_BRIDGES " oifname != @" RULES_BRIDGES " ip saddr %s masquerade\n", b->subnet);
    str_add(s, "  }\n");
}

void rules_script(const struct bridge *b, const char *family, struct str *ret_script, char ret_mark[32])
{
    auto_str struct str name = STR_INIT, body = STR_INIT;
    const char *table;

    rules_table(b, &name);
    table = str_text(&name);
    if (strcmp(family, "inet") == 0) {
        add_bridges(&body);
        add_input(b, &body);
        add_forward(b, &body);
        if (b->has_nat)
            add_nat(b, &body);
    } else {
        add_sets(b, &body);
        add_limits(b, &body);
        add_from_guest(b, &body);
        add_to_guest(b, &body);
    }
    (void)snprintf(ret_mark, 32, "v_%016llx", (unsigned long long)bridge_hash(str_text(&body)));
    /* Added first, so that the deletion finds it. */
    str_addf(ret_script, "add table %s %s\ndelete table %s %s\ntable %s %s {\n", family, table, family, table, family,
             table);
    str_addf(ret_script, "  chain %s {\n  }\n%s}\n", ret_mark, str_text(&body));
}
