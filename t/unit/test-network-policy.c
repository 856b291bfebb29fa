/* What network/bridge makes of policies: ranges of addresses, domains, lists that change. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"
#include "plugins/network/bridge/ranges.h"
#include "t/unit/network-stage.h"

TestSuite(bridge, .init = stage_open);

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
