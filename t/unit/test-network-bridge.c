/* network/bridge against a fake host: what it plans, for which names. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/str.h"
#include "core/util/text.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "kit/fake/host.h"
#include "t/unit/findings.h"

const struct runner_plugin *runner_plugin_1(void);

static const struct runner_network_ops *ops;
static struct runner_error err = ERROR_INIT;

static void setup(void)
{
    fake_host_reset();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    ops = runner_plugin_1()->ops;
}

#define SET(member, text) (void)snprintf(member, sizeof(member), "%s", text)

TestSuite(bridge, .init = setup);

static int create(const char *name, const char *text, int64_t number, void **ret_self)
{
    struct runner_value values[] = {
        {.name = "bridge", .text = "br0"},
        {.name = "address", .text = "10.0.0.1/24"},
        {.name = "uplink", .text = "auto"},
        {.name = "nat", .text = "true", .number = 1},
        {.name = "isolate", .text = "true", .number = 1},
        {.name = "pool", .text = "2", .number = 2},
        {.name = "owner", .text = "64055", .number = 64055},
        {.name = "mtu", .text = "0"},
        {.name = "netns", .text = "false"},
        {.name = "netns_address", .text = "192.0.0.1/29"},
        {.name = "dns", .text = "false"},
        {.name = "dns_program", .text = "/usr/libexec/runner-dns"},
        {.name = "dns_upstream", .text = "192.0.2.53:5353"},
        {.name = "allow_private", .text = "192.168.0.0/16"},
    };

    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (name != NULL && strcmp(values[i].name, name) == 0) {
            values[i].text = text;
            values[i].number = number;
        }
    return runner_plugin_1()->create(values, ARRAY_LEN(values), ret_self, &err);
}

static void *make(void)
{
    void *self = NULL;

    cr_assert_eq(create(NULL, NULL, 0, &self), 0, "%s", err.message);
    names_swept(((struct bridge *)self)->names);
    return self;
}

static struct runner_nic make_nic(void)
{
    return (struct runner_nic){.size = sizeof(struct runner_nic),
                               .mac = "02:00:00:00:00:07",
                               .address = "10.0.0.7",
                               .gateway = "10.0.0.1",
                               .prefix_len = 24};
}

/* The steps of one attach or detach, freed by the caller. */
static char *plan(void *self, bool is_attach, const char *id, struct runner_nic *nic)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    char *text;
    int r = is_attach ? ops->attach(self, fake_call(), batch, id, nic, &err)
                      : ops->detach(self, fake_call(), batch, id, nic, &err);

    cr_assert_eq(r, 0, "%s", err.message);
    text = fake_batch_text(batch);
    fake_host()->batch_free(batch);
    return text;
}

#define PORT          " port=02:00:00:00:00:07,10.0.0.7"
#define PORT_IN_GROUP PORT ",group:726f7b9f"

/* The steps for TAPs: what is said to netfilter beside them is for packets to show. */
static void expect_plan(void *self, bool is_attach, const char *id, struct runner_nic *nic, const char *want)
{
    auto_free char *text = plan(self, is_attach, id, nic);
    auto_str struct str taps = STR_INIT;

    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        if (text_starts(line, "TAP_", NULL))
            str_add_mem(&taps, line, strcspn(line, "\n") + 1);
    cr_expect_str_eq(str_text(&taps), want);
}

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

#define ADD_IDLE(name)                                                                                                 \
    "TAP_ADD " name " -> br0 owner=64055" PORT_IN_GROUP " +isolated +idle undo: TAP_DEL " name                         \
    " -> br0 idle=" name PORT_IN_GROUP "\n"

static void release(void *self, const char *id)
{
    cr_expect_eq(ops->release(self, id, &err), 0);
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

/* ---- ranges ---- */

static void expect_ranges(const struct ranges *r, const char *want)
{
    auto_str struct str text = STR_INIT;

    for (size_t i = 0; i < r->n; i++)
        str_addf(&text, "%x-%x ", r->list[i].first, r->list[i].last);
    cr_expect_str_eq(str_text(&text), want);
}

static void add_ranges(struct ranges *to, const char *const *texts)
{
    for (; *texts != NULL; texts++) {
        struct range range;

        cr_assert(ranges_parse(*texts, &range), "%s", *texts);
        ranges_add(to, range);
    }
    ranges_tidy(to);
}

Test(bridge, ranges_are_merged_and_taken_from_each_other)
{
    struct ranges a = {NULL, 0}, b = {NULL, 0}, all = {NULL, 0};
    struct range left;
    unsigned prefix = 0;

    add_ranges(
        &a, (const char *const[]){"10.0.0.128/25", "10.0.0.0/25", "10.0.1.7/24", "255.255.255.255", "10.0.0.9", NULL});
    expect_ranges(&a, "a000000-a0001ff ffffffff-ffffffff ");
    add_ranges(&b, (const char *const[]){"10.0.0.16/28", "10.0.1.255", "255.255.255.0/24", NULL});
    ranges_subtract(&a, &b);
    expect_ranges(&a, "a000000-a00000f a000020-a0001fe ");
    left = a.list[1];
    cr_expect(ranges_next_network(&left, &prefix) && prefix == 27 && left.first == 0x0a000040);
    add_ranges(&all, (const char *const[]){"0.0.0.0/0", "8.8.8.8", NULL});
    expect_ranges(&all, "0-ffffffff ");
    left = all.list[0];
    cr_expect(!ranges_next_network(&left, &prefix) && prefix == 0);
    ranges_subtract(&all, &all);
    cr_expect_eq(all.n, 0);
    ranges_done(&a);
    ranges_done(&b);
    ranges_done(&all);
}

Test(bridge, what_is_no_range)
{
    static const char *const bad[] = {"",          "/8",          "10.0.0/8",    "10.0.0.0/33",
                                      "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8 ", "::/0"};
    struct range range;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_not(ranges_parse(bad[i], &range), "%s", bad[i]);
}

/* ---- policies ---- */

static char *plan_policy_of(void *self, const struct runner_policy *policy)
{
    struct runner_nic nic = make_nic();
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    char *text = NULL;

    nic.kind = RUNNER_NIC_TAP;
    SET(nic.name, "tap-a");
    if (ops->apply_policy(self, fake_call(), batch, "a", &nic, policy, &err) == 0)
        text = fake_batch_text(batch);
    fake_host()->batch_free(batch);
    return text;
}

Test(bridge, domains_are_told_before_the_set_changes)
{
    const char *const domains[] = {"example.org", "*.example.net"};
    const struct runner_policy policy = {
        .size = sizeof policy, .flags = RUNNER_POLICY_LISTED, .n_domains = 2, .domains = domains};
    void *self = NULL;
    auto_free char *first = NULL, *again = NULL, *killed = NULL;
    const char *rest;

    cr_assert_eq(create("dns", "true", 1, &self), 0, "%s", err.message);
    fake_host_answer(RUNNER_READ, "network/br0/10.0.0.7", 1, 0, NULL);
    first = plan_policy_of(self, &policy);
    cr_assert_not_null(first, "%s", err.message);
    cr_expect(strncmp(first, "WRITE /root-of-host/network/br0/10.0.0.7 mode=0600", 50) == 0, "%s", first);
    cr_expect_not_null(strstr(first, "data=\"set runner_br0 d_tap-a\\x0aexample.org\\x0a*.example.net\\x0a\\x0a\""),
                       "%s", first);
    rest = strstr(first, "\nNETLINK");
    cr_assert_not_null(rest, "%s", first);
    cr_expect_not_null(strstr(rest, "data=\"set runner_br0 d_tap-a\\x0aexample.org\\x0a*.example.net\\x0a\""),
                       "the mark goes behind it: %s", first);
    fake_host_answer(RUNNER_READ, "network/br0/10.0.0.7", 0, 0,
                     "set runner_br0 d_tap-a\nexample.org\n*.example.net\n\n");
    killed = plan_policy_of(self, &policy);
    cr_assert_not_null(killed, "%s", err.message);
    cr_expect(strncmp(killed, "WRITE", 5) == 0 && strstr(killed, "\nNETLINK") != NULL,
              "a runner was killed between: what the set has is others': %s", killed);
    fake_host_answer(RUNNER_READ, "network/br0/10.0.0.7", 0, 0, "set runner_br0 d_tap-a\nexample.org\n*.example.net\n");
    again = plan_policy_of(self, &policy);
    cr_assert_not_null(again, "%s", err.message);
    cr_expect(strncmp(again, "NETLINK", 7) == 0 && strlen(again) < strlen(first), "told already: %s", again);
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
}

Test(bridge, who_is_blocked_asks_for_no_names)
{
    const struct runner_policy policy = {.size = sizeof policy, .flags = RUNNER_POLICY_BLOCK};
    void *self = NULL;
    auto_free char *text = NULL;

    cr_assert_eq(create("dns", "true", 1, &self), 0, "%s", err.message);
    text = plan_policy_of(self, &policy);
    cr_assert_not_null(text, "%s", err.message);
    cr_expect(strncmp(text, "WRITE /root-of-host/network/br0/10.0.0.7 mode=0600", 50) == 0 &&
                  strstr(text, "data=\"none\\x0a\"") != NULL,
              "%s", text);
    runner_plugin_1()->destroy(self);
}

Test(bridge, a_forwarder_that_is_not_there_is_done_without)
{
    const char *const domains[] = {"example.org"};
    const struct runner_policy policy = {
        .size = sizeof policy, .flags = RUNNER_POLICY_LISTED, .n_domains = 1, .domains = domains};
    struct runner_nic nic = make_nic();
    void *self = NULL;

    cr_assert_eq(create("dns", "true", 1, &self), 0, "%s", err.message);
    fake_host_answer(RUNNER_STAT, "/usr/libexec/runner-dns", 1, 0, NULL);
    cr_expect_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect_null(strstr(fake_host_ran(), "SPAWN"));
    cr_expect_not_null(strstr(fake_host_log(), "network.no_forwarder dns_program=/usr/libexec/runner-dns"), "%s",
                       fake_host_log());
    cr_expect_null(plan_policy_of(self, &policy));
    cr_expect(err.code == RUNNER_E_NOTSUP && strstr(err.message, "/usr/libexec/runner-dns") != NULL, "%s", err.message);
    free(plan(self, true, "a", &nic));
    cr_expect_str_eq(nic.dns, "", "what ipam says holds");
    cr_expect_eq(ops->setup(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(fake_host_ran(), "[--keep][/root-of-host/network/br0.state]"),
                       "found by the next setup: %s", fake_host_ran());
    runner_plugin_1()->destroy(self);
}

Test(bridge, domains_without_a_forwarder_are_refused)
{
    const char *const domains[] = {"example.org"};
    const struct runner_policy policy = {
        .size = sizeof policy, .flags = RUNNER_POLICY_LISTED, .n_domains = 1, .domains = domains};
    void *self = make();

    cr_expect_null(plan_policy_of(self, &policy));
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    cr_expect(strstr(err.message, "dns: on") != NULL, "%s", err.message);
    runner_plugin_1()->destroy(self);
}

static size_t length_of(const char *line)
{
    const char *len = strstr(line, "len=");

    return len != NULL ? strtoul(len + 4, NULL, 10) : 0;
}

/* The chains of a list stay while it changes; that they are there may be wrong, and then all is said. */
Test(bridge, a_list_that_changes_is_a_matter_of_elements)
{
    const char *const one[] = {"192.0.2.0/24"};
    const struct runner_policy list = {.size = sizeof list, .flags = RUNNER_POLICY_LISTED, .n_cidrs = 1, .cidrs = one};
    const struct runner_policy open = {.size = sizeof open},
                               block = {.size = sizeof block, .flags = RUNNER_POLICY_BLOCK};
    void *self = make();
    struct runner_nic nic = make_nic();
    auto_free char *attached = plan(self, true, "a", &nic), *first = plan_policy_of(self, &list),
                   *second = plan_policy_of(self, &list), *opened = plan_policy_of(self, &open),
                   *blocked = plan_policy_of(self, &block);
    const char *rest;

    cr_assert(first != NULL && second != NULL && opened != NULL && blocked != NULL, "%s", err.message);
    cr_expect_null(strstr(first, "+"), "%s", first);
    rest = strchr(second, '\n') + 1;
    cr_expect(strstr(second, "+optional undo: ") != NULL && strstr(rest, "+else\n") != NULL, "%s", second);
    cr_expect(length_of(second) < length_of(first) * 2 / 3 && length_of(rest) >= length_of(first), "%s", second);
    cr_expect(strstr(opened, "+") == NULL && length_of(opened) < length_of(second), "%s", opened);
    cr_expect(strstr(blocked, "+optional") != NULL && strstr(blocked, "+else\nCONNTRACK_DEL 10.0.0.7") != NULL,
              "its connections go: %s", blocked);
    cr_expect(length_of(blocked) < length_of(strchr(blocked, '\n') + 1) * 2 / 3, "its chains stay: %s", blocked);
    runner_plugin_1()->destroy(self);
}

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
    cr_expect(strstr(fake_host_ran(), "[nft][-f][-] ms=0 len=46 data=\"add element inet runner_br0 bridges { ") != NULL, "%s",
              fake_host_ran());
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
    cr_expect_not_null(strstr(fake_host_ran(), "link add name br0-2 address 02:72:13:6f:7b:9f group 1919908767 type bridge"));
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
    expect_plan(self, false, "a", &nic, "TAP_DEL ifb-0a000007\nTAP_DEL tap-a -> br0-3 idle=tap-6f7b9f-0" PORT ",routed\n");
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
    cr_expect(strstr(err.message, "all ports are taken") != NULL && strstr(err.message, "no more of them") != NULL, "%s",
              err.message);
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

/* ---- diagnose ---- */

static void diagnose(struct str *ret_lines)
{
    void *self = make();

    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, ret_lines, &err), 0, "%s", err.message);
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
    cr_expect_eq(fake_host_unused(), 0, "%s", fake_host_ran());
}

static void not_made_yet(void)
{
    fake_host_answer(RUNNER_STAT, "/sys/class/net/br0", 1, 0, NULL);
}

#define HAS(line) cr_expect_not_null(strstr(str_text(&lines), line), "no '%s' in:\n%s", line, str_text(&lines))

Test(bridge, diagnose_a_host_that_is_well)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, "{\"nftables\":[{\"metainfo\":{}}]}");
    fake_host_answer(RUNNER_RUN, "[route]", 0, 0, "[{\"dst\":\"default\",\"dev\":\"eth7\"}]");
    fake_host_answer(RUNNER_RUN, "[cat]", 0, 0, "0\n");
    not_made_yet();
    diagnose(&lines);
    HAS("ok tap: ");
    HAS("skip network: the bridge br0 is not there yet");
    HAS("ok nftables: ");
    HAS("ok firewall: ");
    HAS("ok uplink: eth7 ");
    HAS("ok forwarding: ");
    cr_expect_null(strstr(str_text(&lines), "FAIL"));
    cr_expect_not_null(strstr(fake_host_ran(), "[nft][-c][-f][-]"), "the rules are not committed");
    cr_expect_not_null(strstr(fake_host_ran(), "[tee][/proc/sys/net/ipv4/conf/eth7/forwarding] "));
    cr_expect_not_null(strstr(fake_host_ran(), "data=\"0\\x0a\""), "what was there is written: %s", fake_host_ran());
}

Test(bridge, diagnose_and_check_try_a_namespace_where_sandboxes_are_to_have_one)
{
    auto_str struct str lines = STR_INIT;
    void *self = NULL;

    cr_assert_eq(create("netns", "true", 1, &self), 0, "%s", err.message);
    cr_expect_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect(strstr(fake_host_ran(), " netns +held undo: TAP_DEL tapd-n") != NULL, "%s", fake_host_ran());
    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, &lines, &err), 0);
    HAS("ok netns: ");
    fake_host_refuse(RUNNER_TAP_ADD, "tapd-n", RUNNER_E_NOTSUP, "it needs CAP_SYS_ADMIN");
    cr_expect_lt(runner_plugin_1()->check(self, fake_call(), &err), 0);
    cr_expect(strstr(err.message, "CAP_SYS_ADMIN") != NULL, "%s", err.message);
    runner_plugin_1()->destroy(self);
}

static void no_program(const char *match)
{
    fake_host_refuse(RUNNER_RUN, match, RUNNER_E_NOTFOUND, "program is not installed");
}

Test(bridge, diagnose_without_programs)
{
    auto_str struct str lines = STR_INIT;

    no_program("[ip][-V]");
    no_program("[nft]");
    diagnose(&lines);
    cr_expect_str_eq(str_text(&lines), "FAIL iproute2: program is not installed [apt-get install -y iproute2]\n"
                                       "FAIL nftables: program is not installed [apt-get install -y nftables]\n"
                                       "ok bandwidth: limits are kept by queues both ways []\n"
                                       "skip names: dns: false: lists of domains are refused []\n");
}

Test(bridge, diagnose_without_device_or_privilege)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_STAT, "/dev/net/tun", 1, 0, NULL);
    fake_host_refuse(RUNNER_RUN, "[nft]", RUNNER_E_IO, "netlink: Operation not permitted");
    diagnose(&lines);
    HAS("FAIL tap: no /dev/net/tun");
    HAS("[modprobe tun]");
    HAS("FAIL nftables: netlink: Operation not permitted [systemctl enable --now runner-ch]");
    HAS("warn uplink: no default route");

    str_clear(&lines);
    fake_host_refuse(RUNNER_TAP_ADD, "", RUNNER_E_NOTSUP, "no such thing");
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, "no JSON");
    diagnose(&lines);
    HAS("FAIL tap: no such thing [modprobe -a bridge tun]");
    HAS("skip firewall: ");
}

Test(bridge, diagnose_a_firewall)
{
    static const char chains[] =
        "{\"nftables\":[{\"chain\":{\"family\":\"inet\",\"table\":\"runner_br0\",\"name\":"
        "\"forward\",\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"ip\","
        "\"table\":\"filter\",\"name\":\"FORWARD\",\"hook\":\"forward\",\"policy\":\"drop\"}}]}";
    auto_str struct str lines = STR_INIT;

    not_made_yet();
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    diagnose(&lines);
    HAS("warn firewall: the chain 'FORWARD' of table 'ip filter' drops");
    HAS("[nft insert rule ip filter FORWARD iifname br0 accept && nft insert rule ip filter FORWARD oifname br0 "
        "accept]");
    str_clear(&lines);
    not_made_yet();
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    fake_host_answer(RUNNER_RUN, "[list][table][ip][filter]", 0, 0, "iifname \"br0\" accept");
    diagnose(&lines);
    HAS("ok firewall: ");
}

Test(bridge, diagnose_two_bridges)
{
    static const char chains[] = "{\"nftables\":[{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":"
                                 "\"FORWARD\",\"hook\":\"forward\",\"policy\":\"drop\"}}]}";
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[show][type][bridge]", 0, 0,
                     "[{\"ifname\":\"br0\"},{\"ifname\":\"br0-2\",\"group\":\"1919908767\"}]");
    fake_host_answer(RUNNER_RUN, "[show][master][br0-2]", 0, 0, "[{\"ifname\":\"tap-a\",\"master\":\"br0-2\"}]");
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    fake_host_answer(RUNNER_RUN, "[list][table][ip][filter]", 0, 0, "iifname \"br0\" accept");
    diagnose(&lines);
    HAS("ok bridges: br0 has 0 of 1023 ports, br0-2 has 1 of 1023 ports");
    HAS("oifname br0 accept && nft insert rule ip filter FORWARD iifname br0-2 accept");
}

/* Who writes his chains anew says where others may add theirs. */
Test(bridge, diagnose_firewalls_that_have_a_place_for_others)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0,
                     "{\"nftables\":[{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":\"FORWARD\","
                     "\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"ip\",\"table\":\"filter\","
                     "\"name\":\"DOCKER-USER\"}},{\"chain\":{\"family\":\"inet\",\"table\":\"u\",\"name\":\"f\","
                     "\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"inet\",\"table\":\"u\","
                     "\"name\":\"ufw-user-forward\"}}]}");
    diagnose(&lines);
    HAS("[nft insert rule ip filter DOCKER-USER iifname br0 accept && nft insert rule ip filter DOCKER-USER oifname "
        "br0 "
        "accept]");
    HAS("[ufw route allow in on br0 && ufw route allow out on br0]");
}

Test(bridge, diagnose_limits_of_bandwidth)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_NETLINK, "rshb-", 1, 0, NULL);
    diagnose(&lines);
    HAS("warn bandwidth: this kernel has no tbf: packets beyond a limit of what guests send and receive are dropped");
    HAS("[modprobe -a sch_tbf sch_ingress cls_u32 act_mirred ifb]");
}

/* ---- diagnose: a bridge of three ports, the last of which has no flags ---- */

static struct {
    int ends[3];
    bool is_isolating, is_locking;
} ports;

static int ports_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *e)
{
    int pair[2], i = address[strlen(address) - 1] - 'a';

    (void)call;
    if (strncmp(address, "tap:", 4) != 0 || i < 0 || i > 2)
        return fail(e, RUNNER_E_INVALID, 0, "%s", address);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
    ports.ends[i] = pair[0];
    *ret_fd = pair[1];
    return 0;
}

/* What was sent by then is passed on. */
static int ports_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    (void)call;
    (void)fd;
    (void)ms;
    for (int by = 0; by < 3; by++) {
        uint8_t frame[128];
        ssize_t n;

        while ((n = recv(ports.ends[by], frame, sizeof frame, 0)) > 0) {
            int to = frame[12 + 5] - 1, as = frame[12 + 11] - 1;

            if (by != 2 && ((ports.is_isolating && to != 2) || (ports.is_locking && as != by)))
                continue;
            cr_expect_eq(send(ports.ends[to], frame, (size_t)n, 0), n);
        }
    }
    return events;
}

static void diagnose_ports(bool is_isolating, bool is_locking, struct str *ret_lines)
{
    ports.is_isolating = is_isolating;
    ports.is_locking = is_locking;
    fake_host()->dial = ports_dial;
    fake_host()->wait = ports_wait;
    diagnose(ret_lines);
    for (int i = 0; i < 3; i++)
        close(ports.ends[i]);
}

Test(bridge, diagnose_ports_that_hold)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(true, true, &lines);
    HAS("ok ports: frames to another isolated port");
}

Test(bridge, diagnose_ports_that_are_not_isolated)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(false, true, &lines);
    HAS("warn ports: a port that is isolated is not");
}

Test(bridge, diagnose_ports_that_are_not_locked)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(true, false, &lines);
    HAS("warn ports: a port that is locked is not");
}

Test(bridge, diagnose_interrupted)
{
    auto_str struct str lines = STR_INIT;
    void *self = make();

    fake_host_cancel(true);
    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, &lines, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED);
    runner_plugin_1()->destroy(self);
}
