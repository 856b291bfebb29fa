/* network/bridge against a fake host: what it plans, for which names. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/util/cleanup.h"
#include "plugins/network/bridge/names.h"
#include "t/unit/network-stage.h"

TestSuite(bridge, .init = stage_open);

Test(bridge, bad_parameters)
{
    static const struct {
        const char *name, *text;
        int64_t number;
        const char *message;
    } cases[] = {
        {"bridge", "a name", 0, "network.bridge"},
        {"bridge", "sixteen-bytes-16", 0, "network.bridge"},
        {"bridge", "br0;flush", 0, "network.bridge"},
        {"bridge", "-f", 0, "network.bridge"},
        {"bridge", "", 0, "network.bridge"},
        {"uplink", "eth0\nup", 0, "network.uplink"},
        {"address", "10.0.0.1", 0, "network.address"},
        {"address", "10.0.0.1/31", 0, "network.address"},
        {"address", "10.0.0.1/7", 0, "network.address"},
        {"address", "10.0.0.0/24", 0, "own or its broadcast"},
        {"address", "10.0.0.255/24", 0, "own or its broadcast"},
        {"address", "10.0.0/24", 0, "network.address"},
        {"address", "/24", 0, "network.address"},
        {"mtu", "100", 100, "network.mtu"},
        {"netns_address", "192.0.0.1", 0, "network.netns_address"},
        {"netns_address", "192.0.0.0/29", 0, "own or its broadcast"},
        {"netns_address", "192.0.0.6/29", 0, "no address for a guest"},
        {"allow_private", "192.168.0.0/33", 0, "network.allow_private"},
        {"dns_upstream", "example.org", 0, "network.dns_upstream"},
        {"dns_upstream", "192.0.2.1:0", 0, "network.dns_upstream"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        void *self = NULL;
        cr_expect_lt(create(cases[i].name, cases[i].text, cases[i].number, &self), 0, "%s", cases[i].text);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
        cr_expect(strstr(err.message, cases[i].message) != NULL, "%s", err.message);
        cr_expect_null(self);
    }
}

Test(bridge, attach_and_detach_are_one_step)
{
    void *self = make();
    struct runner_nic nic = make_nic();

    expect_plan(self, true, "550e8400-e29b-41d4-a716-446655440000", &nic,
                "TAP_ADD tap-550e8400-e2 -> br0 owner=64055" PORT_IN_GROUP
                " +isolated undo: TAP_DEL tap-550e8400-e2 -> br0" PORT_IN_GROUP "\n");
    cr_expect_str_eq(nic.name, "tap-550e8400-e2");
    cr_expect_eq(nic.kind, RUNNER_NIC_TAP);
    cr_expect_eq(nic.mtu, 0);
    expect_plan(self, false, "550e8400-e29b-41d4-a716-446655440000", &nic,
                "TAP_DEL tap-550e8400-e2 -> br0 idle=tap-6f7b9f-0" PORT "\n");
    runner_plugin_1()->destroy(self);
}

Test(bridge, in_a_namespace_all_guests_have_the_same_address)
{
    void *self = NULL;
    struct runner_nic a = make_nic(), b = make_nic();

    cr_assert_eq(create("netns", "true", 1, &self), 0, "%s", err.message);
    a.is_dialled = b.is_dialled = 1;
    expect_plan(self, true, "a", &a,
                "TAP_ADD tap-a -> br0 owner=64055" PORT_IN_GROUP
                " netns +isolated +held undo: TAP_DEL tap-a -> br0" PORT_IN_GROUP "\n");
    cr_expect_str_eq(a.address, "10.0.0.7", "outside it is known as ipam said");
    cr_expect_str_eq(a.mac, "02:00:00:00:00:07");
    cr_expect_str_eq(a.guest_address, "192.0.0.2");
    cr_expect_str_eq(a.guest_gateway, "192.0.0.1");
    cr_expect_str_eq(a.guest_mac, "02:00:c0:00:00:02");
    cr_expect_eq(a.guest_prefix_len, 29);
    expect_plan(self, false, "a", &a, "TAP_DEL tap-a -> br0" PORT "\n"); /* such a one is not kept */
    SET(b.guest_address, "192.168.77.8");                                /* a copy of one that was made elsewhere */
    SET(b.guest_gateway, "192.168.77.1");
    SET(b.guest_mac, "02:00:00:00:77:08");
    free(plan(self, true, "b", &b));
    cr_expect_str_eq(b.guest_address, "192.168.77.8");
    runner_plugin_1()->destroy(self);
}

Test(bridge, a_sandbox_keeps_the_sort_of_network_that_it_was_made_with)
{
    void *plain = make(), *self = NULL;
    struct runner_nic nic = make_nic(), other = make_nic();
    auto_free char *text = NULL, *again = NULL;

    cr_assert_eq(create("netns", "true", 1, &self), 0, "%s", err.message);
    nic.is_dialled = other.is_dialled = 1;
    SET(nic.name, "tap-a");
    nic.kind = RUNNER_NIC_TAP;
    text = plan(self, true, "a", &nic);
    cr_expect(strstr(text, " netns") == NULL && nic.guest_address[0] == '\0', "%s", text);
    free(plan(self, true, "b", &other));
    again = plan(plain, true, "b", &other);
    cr_expect(strstr(again, " netns") != NULL, "%s", again);
    cr_expect_str_eq(other.guest_address, "192.0.0.2");
    runner_plugin_1()->destroy(plain);
    runner_plugin_1()->destroy(self);
}

Test(bridge, a_namespace_needs_a_vmm_that_takes_descriptors)
{
    void *self = NULL;
    struct runner_nic nic = make_nic(), forged = make_nic();
    struct runner_batch *batch = fake_host()->batch_new(fake_call());

    cr_assert_eq(create("netns", "true", 1, &self), 0, "%s", err.message);
    cr_expect_lt(ops->attach(self, fake_call(), batch, "a", &nic, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    cr_expect(strstr(err.message, "as a descriptor") != NULL, "%s", err.message);
    forged.is_dialled = 1;
    SET(forged.guest_address, "192.0.0.2; x");
    cr_expect_lt(ops->attach(self, fake_call(), batch, "b", &forged, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    fake_host()->batch_free(batch);
    runner_plugin_1()->destroy(self);
}

Test(bridge, idle_taps_are_taken_and_given_within_the_pool)
{
    void *self = make();
    struct runner_nic a = make_nic(), b = make_nic(), c = make_nic();

    free(plan(self, true, "a", &a));
    free(plan(self, true, "b", &b));
    free(plan(self, true, "c", &c));
    expect_plan(self, false, "a", &a, "TAP_DEL tap-a -> br0 idle=tap-6f7b9f-0" PORT "\n");
    expect_plan(self, false, "b", &b, "TAP_DEL tap-b -> br0 idle=tap-6f7b9f-1" PORT "\n");
    expect_plan(self, false, "c", &c, "TAP_DEL tap-c -> br0" PORT "\n"); /* the pool is full */
    release(self, "a");
    release(self, "b");
    release(self, "c");
    a = make_nic();
    expect_plan(self, true, "a", &a, ADD_IDLE("tap-6f7b9f-0"));
    cr_expect_str_eq(a.name, "tap-6f7b9f-0");
    expect_plan(self, false, "a", &a, "TAP_DEL tap-6f7b9f-0 -> br0 idle=tap-6f7b9f-0" PORT "\n");
    runner_plugin_1()->destroy(self);
}

/* Killed between the steps and the end of its record, the next runner finds two records of one TAP. */
Test(bridge, an_idle_tap_is_nobodys_before_its_sandbox_is_released)
{
    void *self = make();
    struct runner_nic a = make_nic(), b = make_nic(), c = make_nic();

    free(plan(self, true, "a", &a));
    free(plan(self, false, "a", &a));
    free(plan(self, true, "b", &b));
    cr_expect_str_eq(b.name, "tap-b");
    free(plan(self, false, "a", &a)); /* tried again */
    release(self, "a");
    release(self, "a");
    free(plan(self, true, "c", &c));
    cr_expect_str_eq(c.name, "tap-6f7b9f-0");
    runner_plugin_1()->destroy(self);
}

Test(bridge, an_attach_that_was_undone_leaves_its_tap_idle)
{
    void *self = make();
    struct runner_nic a = make_nic(), b = make_nic();

    free(plan(self, true, "a", &a));
    free(plan(self, false, "a", &a));
    release(self, "a");
    free(plan(self, true, "b", &b));
    cr_expect_str_eq(b.name, "tap-6f7b9f-0");
    release(self, "b");
    b = make_nic();
    expect_plan(self, true, "c", &b, ADD_IDLE("tap-6f7b9f-0"));
    runner_plugin_1()->destroy(self);
}

Test(bridge, without_a_pool_names_are_of_ids)
{
    void *self = NULL;

    cr_assert_eq(create("pool", "0", 0, &self), 0, "%s", err.message);
    for (int i = 0; i < 2; i++) {
        struct runner_nic nic = make_nic();

        free(plan(self, true, "a", &nic));
        cr_expect_str_eq(nic.name, "tap-a");
        expect_plan(self, false, "a", &nic, "TAP_DEL tap-a -> br0" PORT "\n");
        release(self, "a");
    }
    runner_plugin_1()->destroy(self);
}

Test(bridge, d21_colliding_ids_get_distinct_names)
{
    void *self = make();
    char seen[20][16] = {0};

    for (int i = 0; i < 20; i++) {
        struct runner_nic nic = make_nic();
        char id[64];
        (void)snprintf(id, sizeof id, "same-beginning-of-an-id-%d", i);
        free(plan(self, true, id, &nic));
        cr_expect_leq(strlen(nic.name), 15);
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(nic.name, seen[j]);
        memcpy(seen[i], nic.name, sizeof seen[i]);
    }
    runner_plugin_1()->destroy(self);
}

Test(bridge, the_name_of_before_is_used_again)
{
    void *self = make();
    struct runner_nic nic = make_nic(), other = make_nic();

    SET(nic.name, "tap-variant-1");
    expect_plan(self, true, "abc", &nic,
                "TAP_DEL tap-variant-1\n"
                "TAP_ADD tap-variant-1 -> br0 owner=64055" PORT_IN_GROUP
                " +isolated undo: TAP_DEL tap-variant-1 -> br0" PORT_IN_GROUP "\n");
    SET(other.name, "tap-variant-1"); /* taken meanwhile */
    free(plan(self, true, "xyz", &other));
    cr_expect_str_eq(other.name, "tap-xyz");
    SET(other.name, "eth0"); /* a record that was tampered with */
    free(plan(self, true, "ijk", &other));
    cr_expect_str_eq(other.name, "tap-ijk");
    runner_plugin_1()->destroy(self);
}

Test(bridge, adopt_reserves)
{
    void *self = make();
    struct runner_nic nic = make_nic(), twin = make_nic();

    nic.kind = RUNNER_NIC_TAP;
    SET(nic.name, "tap-same-beginn");
    cr_expect_eq(ops->adopt(self, fake_call(), "same-beginning-1", &nic, &err), 0);
    cr_expect_eq(ops->adopt(self, fake_call(), "same-beginning-1", &nic, &err), 0, "twice is fine");
    cr_expect_lt(ops->adopt(self, fake_call(), "same-beginning-2", &nic, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_EXISTS);
    free(plan(self, true, "same-beginning-2", &twin));
    cr_expect_str_neq(twin.name, nic.name);
    SET(nic.name, "eth0");
    cr_expect_lt(ops->adopt(self, fake_call(), "x", &nic, &err), 0);
    runner_plugin_1()->destroy(self);
}

/* As many as a host may have, each found by its name, id and address: 0.3 s of the processor, and minutes if a search went
 * through all. */
Test(bridge, many_are_found, .timeout = 300)
{
    enum { MANY = 60000 };
    struct names *names = names_new("br0", 8);
    char id[32], name[IFNAME_SIZE], address[16], again[IFNAME_SIZE];

    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof id, "%08x-sandbox", i * 2654435761u);
        (void)snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
        cr_assert_eq(names_reserve(names, id, "", false, name, &err), 0, "%s", err.message);
        names_set_address(names, name, address);
    }
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof id, "%08x-sandbox", i * 2654435761u);
        (void)snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
        cr_assert_eq(names_reserve(names, id, "", false, again, &err), 0);
        cr_assert(names_is_reserved(names, again));
        cr_assert_eq(names_address(names, address), (int)names_bridge(names, again, NULL));
        names_set_address(names, again, "192.0.2.1");
        cr_assert_eq(names_address(names, address), -1);
        names_release(names, id);
        cr_assert_not(names_is_reserved(names, again));
    }
    cr_expect_eq(names_address(names, "192.0.2.1"), -1);
    names_free(names);
    cr_expect_lt(clock() / CLOCKS_PER_SEC, 20);
}

Test(bridge, a_gateway_of_another_network_is_refused)
{
    void *self = make();
    struct runner_nic nic = make_nic();
    struct runner_batch *batch = fake_host()->batch_new(fake_call());

    SET(nic.gateway, "10.1.0.1");
    cr_expect_lt(ops->attach(self, fake_call(), batch, "a", &nic, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect(strstr(err.message, "10.1.0.1") && strstr(err.message, "10.0.0.1/24"), "%s", err.message);
    cr_expect_eq(fake_batch_len(batch), 0);
    fake_host()->batch_free(batch);
    runner_plugin_1()->destroy(self);
}

Test(bridge, address)
{
    void *self = make();
    struct runner_nic nic = make_nic();
    char text[64];

    cr_expect_eq(ops->address(self, &nic, 2280, text, sizeof text, &err), 0);
    cr_expect_str_eq(text, "tcp:10.0.0.7:2280");
    cr_expect_lt(ops->address(self, &nic, 70000, text, sizeof text, &err), 0);
    cr_expect_lt(ops->address(self, &nic, 2280, text, 5, &err), 0);
    runner_plugin_1()->destroy(self);
}

/* ---- limits of bandwidth ---- */

static char *plan_limits(int64_t rx_bytes_per_s, int64_t tx_bytes_per_s, const char *lacks)
{
    const struct runner_policy policy = {
        .size = sizeof policy, .rx_bytes_per_s = (uint64_t)rx_bytes_per_s, .tx_bytes_per_s = (uint64_t)tx_bytes_per_s};
    void *self = make();
    char *text;

    if (lacks != NULL)
        fake_host_answer(RUNNER_NETLINK, lacks, 1, 0, NULL);
    text = plan_policy_of(self, &policy);
    cr_assert_not_null(text, "%s", err.message);
    runner_plugin_1()->destroy(self);
    return text;
}

#define LEAD_NO_MORE "NETLINK tap-a protocol=0 len=36 +optional"

/* How long the transaction of nftables is. */
static long rules_len(const char *text)
{
    const char *at = strstr(text, "protocol=12 len=");

    cr_assert_not_null(at, "%s", text);
    return strtol(at + strlen("protocol=12 len="), NULL, 10);
}

Test(bridge, a_limit_is_queues_and_rules_where_the_kernel_has_none)
{
    auto_free char *both = plan_limits(1000000, 2000000, NULL), *received = plan_limits(1000000, 0, NULL);
    auto_free char *none = plan_limits(0, 0, NULL), *no_tbf = plan_limits(1000000, 2000000, "rshb-");
    auto_free char *no_way = plan_limits(1000000, 2000000, "protocol=0 len=188 +optional");
    const char *queue, *link, *wait, *lead;

    queue = strstr(both, "NETLINK tap-a protocol=0 len=108 undo: " LEAD_NO_MORE "\n");
    link = strstr(both, "NETLINK protocol=0 len=72\n");
    wait = strstr(both, "NETLINK ifb-0a000007 protocol=0 len=108\n");
    lead = strstr(both, "NETLINK tap-a protocol=0 len=188 undo: " LEAD_NO_MORE "\n");
    cr_expect(queue == both && link > queue && wait > link && lead > wait, "%s", both);
    cr_expect_not_null(strstr(received, LEAD_NO_MORE "\nTAP_DEL ifb-0a000007\n"), "%s", received);
    cr_expect(strncmp(none, LEAD_NO_MORE "\n" LEAD_NO_MORE "\nTAP_DEL ifb-0a000007\n", strlen(LEAD_NO_MORE)) == 0, "%s",
              none);
    cr_expect_null(strstr(no_tbf, "len=108"), "%s", no_tbf);
    cr_expect_not_null(strstr(no_way, "NETLINK tap-a protocol=0 len=108"), "%s", no_way);
    cr_expect_null(strstr(no_way, "NETLINK ifb-"), "%s", no_way);
    cr_expect_eq(rules_len(both), rules_len(none), "queues need no rules");
    cr_expect_neq(rules_len(no_tbf), rules_len(both), "%s", no_tbf);
    cr_expect_neq(rules_len(no_way), rules_len(both), "%s", no_way);
    cr_expect_eq(fake_host_unused(), 0);
}
