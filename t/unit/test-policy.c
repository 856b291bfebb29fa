#include <criterion/criterion.h>

#include "core/policy.h"

static int read_change(const char *text, struct policy_change *ret, const char **ret_field, struct runner_error *err)
{
    auto_json struct json *body = NULL;

    cr_assert_eq(json_parse(text, strlen(text), &body, err), 0, "%s", err->message);
    return policy_change_read(body, ret, ret_field, err);
}

static char *describe(const struct policy *policy)
{
    return mem_printf("%s%s%s|%s", policy->is_blocked ? "block " : "", policy->is_restricted ? "limit " : "",
                      policy->cidrs != NULL ? policy->cidrs : "-", policy->domains != NULL ? policy->domains : "-");
}

/* The contract's order of evaluation (8.1), from a policy that has everything. */
/* Takes the policy. */
static void expect_change(struct policy *policy, const char *message, const char *wanted)
{
    struct runner_error err = ERROR_INIT;
    struct policy_change change;
    const char *field;
    auto_free char *after = NULL;

    cr_assert_eq(read_change(message, &change, &field, &err), 0, "%s", err.message);
    policy_change_apply(&change, policy);
    after = describe(policy);
    cr_expect_str_eq(after, wanted, "%s: %s", message, after);
    policy_change_done(&change);
    policy_done(policy);
}

Test(policy, s03_absent_null_and_empty_mean_what_the_contract_says)
{
    static const struct {
        const char *message, *after;
    } cases[] = {
        {"{}", "block limit 10.0.0.0/8|a.b"},
        {"{\"networkBlockAll\":null,\"networkAllowList\":null,\"domainAllowList\":null,\"networkLimitEgress\":null}",
         "block limit 10.0.0.0/8|a.b"},
        {"{\"networkBlockAll\":true}", "block limit -|-"},
        {"{\"networkBlockAll\":true,\"networkAllowList\":\"1.2.3.4/32\"}", "block limit 1.2.3.4/32|-"},
        {"{\"networkBlockAll\":false}", "limit -|-"},
        {"{\"networkBlockAll\":false,\"networkAllowList\":\"1.2.3.4/32\"}", "limit 1.2.3.4/32|-"},
        {"{\"networkBlockAll\":false,\"networkAllowList\":\"\",\"domainAllowList\":\"C.d\"}", "limit -|c.d"},
        {"{\"networkAllowList\":\"1.2.3.4/32\"}", "limit 1.2.3.4/32|a.b"},
        {"{\"networkAllowList\":\"\"}", "limit -|a.b"},
        {"{\"networkAllowList\":\" , ,\"}", "limit -|a.b"},
        {"{\"domainAllowList\":\"c.d\"}", "limit 10.0.0.0/8|c.d"},
        {"{\"domainAllowList\":\"\"}", "block limit 10.0.0.0/8|-"},
        {"{\"networkLimitEgress\":false}", "block 10.0.0.0/8|a.b"},
        {"{\"networkLimitEgress\":true,\"networkBlockAll\":false}", "limit -|-"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct policy policy = {true, true, mem_dup("10.0.0.0/8"), mem_dup("a.b")};
        expect_change(&policy, cases[i].message, cases[i].after);
    }
}

Test(policy, lists_are_made_canonical)
{
    static const struct {
        const char *message, *after;
    } cases[] = {
        {"{\"networkAllowList\":\" 10.1.2.3/8 ,192.168.1.0/24,,10.9.0.0/16, 10.0.0.0/8\"}",
         "10.0.0.0/8,192.168.1.0/24|-"},
        {"{\"networkAllowList\":\"1.2.3.4/0,9.9.9.9/32\"}", "0.0.0.0/0|-"},
        {"{\"networkAllowList\":\"9.0.0.0/8,10.0.0.0/9,10.128.0.0/9\"}", "9.0.0.0/8,10.0.0.0/9,10.128.0.0/9|-"},
        {"{\"networkAllowList\":\"1.1.1.1/32,1.1.1.2/32,1.1.1.3/32,1.1.1.4/32,1.1.1.5/32,1.1.1.6/32,1.1.1.7/32,"
         "1.1.1.8/32,1.1.1.9/32,1.1.1.10/32\"}",
         "1.1.1.1/32,1.1.1.2/32,1.1.1.3/32,1.1.1.4/32,1.1.1.5/32,1.1.1.6/32,1.1.1.7/32,1.1.1.8/32,1.1.1.9/32,"
         "1.1.1.10/32|-"},
        {"{\"domainAllowList\":\"Example.COM., *.example.org ,example.com,_x.a-b\"}",
         "-|*.example.org,_x.a-b,example.com"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct policy policy = {.cidrs = NULL};
        expect_change(&policy, cases[i].message, cases[i].after);
    }
}

Test(policy, what_is_wrong_is_named)
{
    static const struct {
        const char *message, *field, *why;
    } cases[] = {
        {"{\"networkBlockAll\":\"true\"}", "networkBlockAll", "expected a boolean, found a string"},
        {"{\"networkLimitEgress\":1}", "networkLimitEgress", "expected a boolean, found an integer"},
        {"{\"networkAllowList\":[\"10.0.0.0/8\"]}", "networkAllowList", "expected a string, found an array"},
        {"{\"networkAllowList\":\"10.0.0.1\"}", "networkAllowList", "'10.0.0.1' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"10.0.0.0/33\"}", "networkAllowList",
         "'10.0.0.0/33' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"10.0.0.0/ 8\"}", "networkAllowList",
         "'10.0.0.0/ 8' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"10.0.0/8\"}", "networkAllowList", "'10.0.0/8' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"10.0.0.0/+8\"}", "networkAllowList",
         "'10.0.0.0/+8' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"::/0\"}", "networkAllowList", "'::/0' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"0.0.0.0/0;x\"}", "networkAllowList",
         "'0.0.0.0/0;x' is not an IPv4 network as a.b.c.d/n"},
        {"{\"networkAllowList\":\"1.1.1.1/32,1.1.1.2/32,1.1.1.3/32,1.1.1.4/32,1.1.1.5/32,1.1.1.6/32,1.1.1.7/32,"
         "1.1.1.8/32,1.1.1.9/32,1.1.1.10/32,1.1.1.10/32\"}",
         "networkAllowList", "has more than 10 items"},
        {"{\"domainAllowList\":\"a.b,c.d,e.f,g.h,i.j,k.l,m.n,o.p,q.r,s.t,u.v\"}", "domainAllowList",
         "has more than 10 items"},
        {"{\"domainAllowList\":\"*\"}", "domainAllowList", "'*' is not the name of a domain"},
        {"{\"domainAllowList\":\"*.\"}", "domainAllowList", "'*.' is not the name of a domain"},
        {"{\"domainAllowList\":\".\"}", "domainAllowList", "'.' is not the name of a domain"},
        {"{\"domainAllowList\":\"a..b\"}", "domainAllowList", "'a..b' is not the name of a domain"},
        {"{\"domainAllowList\":\"a.b..\"}", "domainAllowList", "'a.b..' is not the name of a domain"},
        {"{\"domainAllowList\":\"a.*.b\"}", "domainAllowList", "'a.*.b' is not the name of a domain"},
        {"{\"domainAllowList\":\"1.2.3.4\"}", "domainAllowList", "'1.2.3.4' is not the name of a domain"},
        {"{\"domainAllowList\":\"-a.b\"}", "domainAllowList", "'-a.b' is not the name of a domain"},
        {"{\"domainAllowList\":\"a b\"}", "domainAllowList", "'a b' is not the name of a domain"},
        {"{\"domainAllowList\":\"a\\nset x\"}", "domainAllowList", "'a\nset x' is not the name of a domain"},
        {"{\"domainAllowList\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b\"}",
         "domainAllowList",
         "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' is not the name of a domain"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;
        struct policy_change change;
        const char *field = "";

        cr_assert_eq(read_change(cases[i].message, &change, &field, &err), -1, "%s", cases[i].message);
        cr_expect_str_eq(field, cases[i].field);
        cr_expect(strncmp(err.message, cases[i].why, strlen(cases[i].why)) == 0 || strchr(cases[i].why, '\n') != NULL,
                  "%s: %s", cases[i].message, err.message);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
    }
}

/* What a start brings: texts. */
Test(policy, metadata_neither_opens_nor_ends_a_block)
{
    static const struct {
        const char *metadata, *after;
    } cases[] = {
        {"null", "block 10.0.0.0/8|a.b"},
        {"{}", "block 10.0.0.0/8|a.b"},
        {"{\"limitNetworkEgress\":\"\",\"domainAllowList\":\"\"}", "block 10.0.0.0/8|a.b"},
        {"{\"limitNetworkEgress\":\"true\"}", "block limit 10.0.0.0/8|a.b"},
        {"{\"limitNetworkEgress\":\"false\",\"domainAllowList\":\"x.y, *.z\"}", "block 10.0.0.0/8|*.z,x.y"},
        {"{\"limitNetworkEgress\":\"yes\"}", NULL},
        {"{\"domainAllowList\":\"..\"}", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct policy policy = {true, false, mem_dup("10.0.0.0/8"), mem_dup("a.b")};
        auto_json struct json *metadata = NULL;
        struct runner_error err = ERROR_INIT;
        struct policy_change change;
        auto_free char *after = NULL;
        int status;

        cr_assert_eq(json_parse(cases[i].metadata, strlen(cases[i].metadata), &metadata, &err), 0);
        status = policy_change_read_metadata(metadata, &change, &err);
        cr_expect_eq(status, cases[i].after != NULL ? 0 : -1, "%s", cases[i].metadata);
        if (status == 0) {
            policy_change_apply(&change, &policy);
            after = describe(&policy);
            cr_expect_str_eq(after, cases[i].after, "%s: %s", cases[i].metadata, after);
            policy_change_done(&change);
        }
        policy_done(&policy);
    }
}

Test(policy, plugins_see_what_they_can_keep)
{
    struct policy policy = {false, true, (char *)"1.0.0.0/8,2.0.0.0/8", (char *)"a.b"};
    struct policy_view view;

    policy_view_init(&view, &policy, RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_DOMAINS);
    cr_assert_eq(view.policy.flags, RUNNER_POLICY_LISTED | RUNNER_POLICY_RESTRICTED);
    cr_assert_eq(view.policy.n_cidrs, 2);
    cr_assert_str_eq(view.policy.cidrs[1], "2.0.0.0/8");
    cr_assert_eq(view.policy.n_domains, 1);
    cr_assert_str_eq(view.policy.domains[0], "a.b");
    policy_view_done(&view);
    policy.cidrs = NULL;
    policy_view_init(&view, &policy, RUNNER_NETWORK_CAP_POLICY);
    cr_assert_eq(view.policy.flags, RUNNER_POLICY_LISTED | RUNNER_POLICY_RESTRICTED, "closed, not open");
    cr_assert_eq(view.policy.n_domains + view.policy.n_cidrs, 0);
    policy_view_done(&view);
    cr_assert_eq(policy_needs(&policy), RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_DOMAINS);
}
