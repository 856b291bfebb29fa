/* The nftables rules of one bridge: two tables of its own, nothing outside them is touched. */
#include "plugins/network/bridge/bridge.h"

#include <string.h>

/* What is in both tables' way is known by measurement: the bridge family has no ibrname here, so it goes by the names
 * of the TAPs; the type of a frame is asked by `ether type`, since `meta protocol` looks inside a VLAN tag. */

void rules_table(const struct bridge *b, struct str *ret)
{
    str_add(ret, "runner_");
    for (const char *p = b->name; *p != '\0'; p++)
        str_add_char(ret, *p == '-' || *p == '.' ? '_' : *p);
}

/* Frames of guests: IPv4 and ARP only, in nobody else's name. */
static void add_bridge_family(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain pre {\n"
               "    type filter hook prerouting priority -300; policy accept;\n"
               "    iifname \"tap-*\" goto guest\n"
               "  }\n"
               "  chain guest {\n");
    str_addf(s, "    ether saddr %s counter drop\n", b->mac);
    str_add(s, "    ether type arp goto guest_arp\n"
               "    ether type != ip counter drop\n"
               "    udp sport 67 counter drop\n");
    str_addf(s, "    ip saddr { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3, %s } counter drop\n", b->address);
    str_add(s, "  }\n"
               "  chain guest_arp {\n");
    str_addf(s, "    arp saddr ip %s counter drop\n", b->address);
    str_addf(s, "    arp saddr ether %s counter drop\n", b->mac);
    str_add(s, "  }\n");
    if (b->is_isolating) /* the port flag does it already; this holds when somebody clears the flag */
        str_add(s, "  chain fw {\n"
                   "    type filter hook forward priority -300; policy accept;\n"
                   "    iifname \"tap-*\" oifname \"tap-*\" counter drop\n"
                   "  }\n");
}

/* To the host: replies to what it dialled, and ping. */
static void add_input(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain input {\n"
               "    type filter hook input priority -10; policy accept;\n");
    str_addf(s, "    iifname \"%s\" goto guest_in\n", b->name);
    str_add(s, "  }\n"
               "  chain guest_in {\n"
               "    ct state established ct direction reply accept\n");
    str_addf(s, "    icmp type echo-request ip daddr %s limit rate 100/second accept\n", b->address);
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
    str_addf(s, "    iifname \"%s\" oifname \"%s\" counter %s\n", b->name, b->name,
             b->is_isolating ? "drop" : "accept");
    str_addf(s, "    iifname \"%s\" meta nfproto ipv6 counter drop\n", b->name);
    str_addf(s, "    iifname \"%s\" ip saddr != %s counter drop\n", b->name, b->subnet);
    str_addf(s, "    iifname \"%s\" ip daddr 169.254.0.0/16 counter drop\n", b->name);
    str_addf(s, "    iifname \"%s\" ct state new add @flows { ip saddr ct count over 4096 } counter drop\n", b->name);
    str_addf(s, "    oifname \"%s\" ct state established,related accept\n", b->name);
    str_addf(s, "    oifname \"%s\" counter drop\n", b->name);
    str_add(s, "  }\n");
}

static void add_nat(const struct bridge *b, struct str *s)
{
    str_add(s, "  chain post {\n"
               "    type nat hook postrouting priority srcnat; policy accept;\n");
    str_addf(s, "    iifname \"%s\" oifname != \"%s\" ip saddr %s masquerade\n", b->name, b->name, b->subnet);
    str_add(s, "  }\n");
}

/* Added first, so that the deletion finds it. */
static void open_table(struct str *s, const char *family, const char *table)
{
    str_addf(s, "add table %s %s\ndelete table %s %s\ntable %s %s {\n", family, table, family, table, family, table);
}

void rules_script(const struct bridge *b, struct str *ret_script, char ret_mark[32])
{
    auto_str struct str table = STR_INIT, inet = STR_INIT, bridge = STR_INIT, both = STR_INIT;

    rules_table(b, &table);
    add_input(b, &inet);
    add_forward(b, &inet);
    if (b->has_nat)
        add_nat(b, &inet);
    add_bridge_family(b, &bridge);
    str_addf(&both, "%s%s", str_text(&inet), str_text(&bridge));
    (void)snprintf(ret_mark, 32, "v_%016llx", (unsigned long long)bridge_hash(str_text(&both)));
    open_table(ret_script, "bridge", str_text(&table));
    str_addf(ret_script, "%s}\n", str_text(&bridge));
    open_table(ret_script, "inet", str_text(&table));
    str_addf(ret_script, "  chain %s {\n  }\n%s}\n", ret_mark, str_text(&inet));
}
