/* What network/bridge does beside its sandboxes: setup, what is looked at again and again, further bridges, sweep. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"
#include "plugins/network/bridge/bridges.h"
#include "t/unit/network-stage.h"

TestSuite(bridge, .init = stage_open);

/* ---- setup ---- */

static void answer_look(const char *link, const char *routes, int rules_status)
{
    fake_host_answer(RUNNER_RUN, "[ip][-j][-d][link]", link == NULL, 0, link);
    fake_host_answer(RUNNER_RUN, "[ip][-j][-4][route]", 0, 0, routes);
    fake_host_answer(RUNNER_RUN, "[nft][list][chain][inet]", rules_status, 0, "");
    fake_host_answer(RUNNER_RUN, "[nft][list][chain][bridge]", rules_status, 0, "");
}

Test(bridge, setup_makes_what_is_missing)
{
    void *self = make();

    answer_look(NULL, "[{\"dst\":\"default\",\"dev\":\"wlan0\",\"metric\":600},{\"dst\":\"default\",\"dev\":\"eth0\"}]",
                1);
    cr_expect_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect(strstr(fake_host_ran(), "[nft][-f][-]") != NULL);
    cr_expect(strstr(fake_host_ran(), "link add name br0 address 02:72:13:6f:7b:9f group 1919908767 type bridge "
                                      "stp_state 0 forward_delay 0") != NULL,
              "%s", fake_host_ran());
    cr_expect(strstr(fake_host_ran(), "addr replace 10.0.0.1/24 dev br0") != NULL);
    cr_expect(strstr(fake_host_ran(), "conf/br0/forwarding][/proc/sys/net/ipv4/conf/eth0/forwarding]") != NULL);
    cr_expect(strstr(fake_host_ran(), "ip_forward") == NULL, "forwarding of every interface is not ours to switch");
    cr_expect_eq(fake_host_unused(), 0);
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}

Test(bridge, setup_uses_what_is_there)
{
    void *self = make();

    answer_look("[{\"ifname\":\"br0\",\"linkinfo\":{\"info_kind\":\"bridge\"}}]", "[]", 0);
    cr_expect_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect(strstr(fake_host_ran(), "[nft][-f][-] ms=0 len=46 data=\"add element inet runner_br0 bridges { ") != NULL,
              "%s", fake_host_ran());
    cr_expect(strstr(fake_host_ran(), "link add") == NULL);
    cr_expect(strstr(fake_host_ran(), "/forwarding") == NULL, "no uplink: nothing to forward to");
    cr_expect(strstr(fake_host_log(), "network.no_uplink") != NULL);
    runner_plugin_1()->destroy(self);
}

Test(bridge, setup_refuses_what_is_no_bridge_and_output_that_is_no_json)
{
    void *self = make();

    answer_look("[{\"ifname\":\"br0\",\"linkinfo\":{\"info_kind\":\"veth\"}}]", "[]", 0);
    cr_expect_lt(ops->setup(self, fake_call(), &err), 0);
    cr_expect_eq(err.code, RUNNER_E_EXISTS);
    answer_look("{{{", "[]", 0);
    cr_expect_lt(ops->setup(self, fake_call(), &err), 0);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect(strstr(err.message, "ip link") != NULL, "%s", err.message);
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}

Test(bridge, rules_differ_with_each_setting)
{
    static const struct {
        const char *name, *text;
        int64_t number;
    } changes[] = {{NULL, NULL, 0},
                   {"nat", "false", 0},
                   {"isolate", "false", 0},
                   {"address", "10.9.0.1/16", 0},
                   {"bridge", "br-x.y", 0}};
    char marks[ARRAY_LEN(changes)][32], others[ARRAY_LEN(changes)][32];

    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        auto_str struct str script = STR_INIT;
        void *self = NULL;

        cr_assert_eq(create(changes[i].name, changes[i].text, changes[i].number, &self), 0, "%s", err.message);
        rules_script(self, "inet", &script, marks[i]);
        cr_expect(strstr(str_text(&script), marks[i]) != NULL, "the mark is in the script");
        if (i == 4) /* in a table of another name, whose set says which bridges */
            (void)snprintf(marks[i], sizeof marks[i], "-");
        if (i == 1) /* of no matter to the other table */
            (void)snprintf(others[i], sizeof others[i], "-");
        else
            rules_script(self, "bridge", &script, others[i]);
        cr_expect_eq(strstr(str_text(&script), "masquerade") != NULL, i != 1);
        cr_expect_eq(strstr(str_text(&script), "oifname \"tap-*\" counter drop") != NULL, i != 1 && i != 2);
        for (size_t j = 0; j < i; j++) {
            cr_expect_str_neq(marks[i], marks[j]);
            cr_expect_str_neq(others[i], others[j]);
        }
        runner_plugin_1()->destroy(self);
    }
}

/* ---- what is looked at again and again ---- */

#define LINK "[{\"ifname\":\"br0\",\"flags\":[\"BROADCAST\",\"UP\"],\"linkinfo\":{\"info_kind\":\"bridge\"}}]"
#define ADDR "[{\"addr_info\":[{\"local\":\"10.0.0.1\",\"prefixlen\":24}]}]"

static void answer_watch(const char *link, const char *address, int rules_status, const char *forwarding,
                         const char *chains)
{
    fake_host_answer(RUNNER_RUN, "[ip][-j][-d][link]", link == NULL, 0, link);
    fake_host_answer(RUNNER_RUN, "[-4][addr]", 0, 0, address);
    fake_host_answer(RUNNER_RUN, "[-4][route]", 0, 0, "[{\"dst\":\"default\",\"dev\":\"eth0\"}]");
    fake_host_answer(RUNNER_RUN, "[ip][-j][link][show][master][br0]", 0, 0, "[]");
    fake_host_answer(RUNNER_RUN, "[nft][list][chain][bridge]", rules_status, 0, "");
    fake_host_answer(RUNNER_RUN, "[cat][/proc/sys/net/ipv4/conf/br0/", 0, 0, forwarding);
    fake_host_answer(RUNNER_RUN, "[cat][/proc/sys/net/ipv4/conf/eth0/", 0, 0, forwarding);
    fake_host_answer(RUNNER_RUN, "[nft][-j][list][chains]", 0, 0, chains);
}

Test(bridge, what_is_lost_is_told_once_it_was_made)
{
    static const char none[] = "{\"nftables\":[]}";
    static const char docker[] = "{\"nftables\":[{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":"
                                 "\"FORWARD\",\"hook\":\"forward\",\"policy\":\"drop\"}}]}";
    static const struct {
        const char *link, *address;
        int rules_status;
        const char *forwarding, *chains, *says;
    } cases[] = {
        {LINK, ADDR, 0, "1\n", none, NULL},
        {LINK, "[{}]", 0, "1\n", none, "the bridge br0 has no more the address 10.0.0.1/24"},
        {"[{\"flags\":[]}]", ADDR, 0, "1\n", none, "the bridge br0 is down"},
        {LINK, ADDR, 1, "1\n", none, "the rules of table 'bridge runner_br0' are not there"},
        {LINK, ADDR, 0, "0\n", none, "forwarding of br0 is off; IPv4 forwarding of eth0 is off"},
        {LINK, ADDR, 0, "1\n", docker, "the chain 'FORWARD' of table 'ip filter', which is not ours"},
    };
    void *self = make();

    cr_expect_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "before setup: %s", err.message);
    cr_assert_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r;

        answer_watch(cases[i].link, cases[i].address, cases[i].rules_status, cases[i].forwarding, cases[i].chains);
        error_clear(&err);
        r = runner_plugin_1()->check(self, fake_call(), &err);
        cr_expect_eq(r, cases[i].says == NULL ? 0 : -1, "%zu: %s", i, err.message);
        cr_expect(cases[i].says == NULL || strstr(err.message, cases[i].says) != NULL, "%zu: %s", i, err.message);
        cr_expect_eq(fake_host_unused(), 0, "%zu: %s", i, fake_host_ran());
    }
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}

/* ---- more than one bridge ---- */

static void fill(void *self, int first, int last)
{
    for (int i = first; i <= last; i++) {
        struct runner_nic nic = make_nic();
        auto_free char *id = mem_printf("%04d", i);

        free(plan(self, true, id, &nic));
    }
}

#define ADD_TO(name, bridge, other)                                                                                    \
    "TAP_ADD " name " -> " bridge " owner=64055" PORT_IN_GROUP ",also:" other ",routed +isolated undo: TAP_DEL " name  \
    " -> " bridge PORT_IN_GROUP ",also:" other ",routed\n"

/* One is made while there is still some room, and taken when there is none. */
Test(bridge, a_bridge_that_is_full_is_followed_by_another)
{
    void *self = make();
    struct runner_nic nic = make_nic();

    fake_host_answer_always(RUNNER_RUN, "[show][dev][br0-2]", 1, 0, NULL);
    fill(self, 1, 960);
    cr_expect_null(strstr(fake_host_ran(), "link add"), "it has room");
    fill(self, 961, 961);
    cr_expect_not_null(
        strstr(fake_host_ran(), "link add name br0-2 address 02:72:13:6f:7b:9f group 1919908767 type bridge"));
    cr_expect_not_null(strstr(fake_host_ran(), "addr replace 10.0.0.1/32 dev br0-2"));
    cr_expect_not_null(strstr(fake_host_ran(), "[tee][/proc/sys/net/ipv4/conf/br0-2/accept_redirects]"));
    expect_plan(self, true, "last", &nic, ADD_TO("tap-last", "br0", "br0-2"));
    fill(self, 962, 1022);
    nic = make_nic();
    expect_plan(self, true, "next", &nic, ADD_TO("tap-next", "br0-2", "br0"));
    expect_plan(self, false, "next", &nic, "TAP_DEL tap-next -> br0-2 idle=tap-6f7b9f-0" PORT ",routed\n");
    release(self, "next");
    nic = make_nic();
    free(plan(self, true, "one", &nic));
    cr_expect_str_eq(nic.name, "tap-6f7b9f-0", "which stays on its bridge");
    expect_plan(self, false, "last", &nic, "TAP_DEL tap-6f7b9f-0 -> br0-2 idle=tap-6f7b9f-0" PORT ",routed\n");
    runner_plugin_1()->destroy(self);
}

/* Found by the next runner: by names, groups, and who is on which. Others' are nobody's business. */
Test(bridge, further_bridges_are_found_again)
{
    void *self = NULL;
    struct runner_nic nic = make_nic();

    cr_assert_eq(create(NULL, NULL, 0, &self), 0, "%s", err.message);
    fake_host_answer(RUNNER_RUN, "[show][type][bridge]", 0, 0,
                     "[{\"ifname\":\"br0\",\"group\":\"1919908767\"},{\"ifname\":\"br0-2\",\"group\":\"default\"},"
                     "{\"ifname\":\"br0-3\",\"group\":\"1919908767\",\"address\":\"02:72:00:00:00:00\"},"
                     "{\"ifname\":\"br9-4\",\"group\":\"1919908767\"}]");
    fake_host_answer(RUNNER_RUN, "[show][master][br0-3]", 0, 0,
                     "[{\"ifname\":\"tap-a\",\"master\":\"br0-3\"},{\"ifname\":\"veth7\",\"master\":\"br0-3\"}]");
    cr_expect_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(fake_host_ran(), "addr replace 10.0.0.1/32 dev br0-3"));
    cr_expect_not_null(strstr(fake_host_ran(), "link set dev br0-3 address 02:72:13:6f:7b:9f"), "the gateway's");
    cr_expect_null(strstr(fake_host_ran(), "dev br0-2"));
    SET(nic.name, "tap-a");
    nic.kind = RUNNER_NIC_TAP;
    cr_expect_eq(ops->adopt(self, fake_call(), "a", &nic, &err), 0);
    expect_plan(self, false, "a", &nic,
                "TAP_DEL ifb-0a000007\nTAP_DEL tap-a -> br0-3 idle=tap-6f7b9f-0" PORT ",routed\n");
    runner_plugin_1()->destroy(self);
}

Test(bridge, guests_that_are_not_isolated_are_on_one_bridge)
{
    void *self = NULL;

    cr_assert_eq(create("isolate", "false", 0, &self), 0, "%s", err.message);
    fill(self, 1, 1030);
    cr_expect_null(strstr(fake_host_ran(), "link add"));
    runner_plugin_1()->destroy(self);
}

/* Another's interface is passed over; where none can be made that is logged, and told when the last port is gone. */
Test(bridge, a_bridge_that_cannot_be_made)
{
    void *self = make();
    struct runner_nic nic = make_nic();
    struct runner_batch *batch = fake_host()->batch_new(fake_call());

    fake_host_answer_always(RUNNER_RUN, "[show][dev][br0-2]", 0, 0, "[{\"ifname\":\"br0-2\",\"group\":\"default\"}]");
    for (int i = 0; i < 64; i++)
        fake_host_refuse(RUNNER_RUN, "link add name br0-3", RUNNER_E_IO, "no more of them");
    fill(self, 1, 1023);
    cr_expect_not_null(strstr(fake_host_log(), "network.no_more_bridge bridge=br0"));
    cr_expect_lt(ops->attach(self, fake_call(), batch, "more", &nic, &err), 0);
    cr_expect(strstr(err.message, "all ports are taken") != NULL && strstr(err.message, "no more of them") != NULL,
              "%s", err.message);
    fake_host()->batch_free(batch);
    runner_plugin_1()->destroy(self);
}

Test(bridge, long_names_of_bridges_stay_short_enough)
{
    void *self = NULL;
    char name[IFNAME_SIZE];

    cr_assert_eq(create("bridge", "twelve-bytes", 0, &self), 0);
    bridges_name(self, 63, name);
    cr_expect_str_eq(name, "twelve-bytes-64");
    runner_plugin_1()->destroy(self);
    cr_assert_eq(create("bridge", "fifteen-bytes15", 0, &self), 0);
    bridges_name(self, 0, name);
    cr_expect_str_eq(name, "fifteen-bytes15");
    bridges_name(self, 63, name);
    cr_expect(strlen(name) == 12 && strncmp(name, "br-", 3) == 0, "%s", name);
    runner_plugin_1()->destroy(self);
}

/* ---- sweep ---- */

Test(bridge, sweep_removes_only_what_is_nobodys)
{
    void *self = make();
    struct runner_nic nic = make_nic();
    const struct runner_nic *owned[] = {&nic};

    nic.kind = RUNNER_NIC_TAP;
    SET(nic.name, "tap-owned");
    fake_host_answer(RUNNER_RUN, "[ip][-j][link][show][master][br0][type][tun]", 0, 0,
                     "[{\"ifname\":\"tap-owned\",\"master\":\"br0\"},{\"ifname\":\"tap-gone\",\"master\":\"br0\"},"
                     "{\"ifname\":\"vnet3\",\"master\":\"br0\"},"
                     "{\"ifname\":\"tap-6f7b9f-8\",\"master\":\"br0\",\"flags\":[\"NO-CARRIER\",\"UP\"]},"
                     "{\"ifname\":\"tap-6f7b9f-10\",\"master\":\"br0\",\"flags\":[\"BROADCAST\"]}]");
    fake_host_answer(RUNNER_RUN, "[ip][-j][link][show][nomaster][type][tun]", 0, 0,
                     "[{\"ifname\":\"tap-other\",\"master\":\"br7\"},{\"ifname\":\"tap-free\"},{\"ifname\":\"vpn0\"},"
                     "{\"ifname\":\"tap-6f7b9f-7\"},{\"ifname\":\"tap-6f7b9f-9\",\"master\":\"br7\"},"
                     "{\"ifname\":\"tap-6f7b9f-11\"},{\"ifname\":\"tap-6f7b9f-07\"},"
                     "{\"ifname\":\"tap-000000-9\"},{\"ifname\":\"tapd-5\"}]");
    fake_host_answer(RUNNER_RUN, "[ip][-j][link][show][master][br0][type][veth]", 0, 0,
                     "[{\"ifname\":\"tap-veth\",\"master\":\"br0\"},{\"ifname\":\"tap-owned\",\"master\":\"br0\"},"
                     "{\"ifname\":\"veth7\",\"master\":\"br0\"}]");
    cr_expect_eq(ops->sweep(self, fake_call(), owned, 1, &err), 0, "%s", err.message);
    cr_expect(strstr(fake_host_ran(), "TAP_DEL tap-veth\n") != NULL && strstr(fake_host_ran(), "TAP_DEL tap-m") == NULL,
              "%s", fake_host_ran());
    cr_expect(strstr(fake_host_ran(),
                     "TAP_DEL tap-6f7b9f-7\nTAP_DEL tap-6f7b9f-8\nTAP_DEL tap-gone\nTAP_DEL tapd-5\n") != NULL,
              "%s", fake_host_ran());
    cr_expect(strstr(fake_host_ran(), "TAP_DEL tap-o") == NULL && strstr(fake_host_ran(), "TAP_DEL tap-free") == NULL &&
              strstr(fake_host_ran(), "TAP_DEL v") == NULL && strstr(fake_host_ran(), "TAP_DEL tap-0") == NULL);
    nic = make_nic();
    expect_plan(self, true, "new", &nic, ADD_IDLE("tap-6f7b9f-10"));
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}
