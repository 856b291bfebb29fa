/* guest/daemon/seed.c: what a runner.json may hold, and the texts that net.c makes of it. */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "guest/daemon/net.h"

static int parse(const char *text, struct seed *s, struct runner_error *err)
{
    return seed_parse(text, strlen(text), s, err);
}

Test(seed, everything)
{
    struct runner_error err = ERROR_INIT;
    struct seed s;
    static const uint8_t mac[] = {0x02, 0x0a, 0xff, 0x00, 0x10, 0x99};

    cr_assert_eq(
        parse("{\"schema\":1,\"id\":\"a-1\",\"hostname\":\"box.example\",\"user\":\"daytona\",\"snapshot\":\"tiny\","
              "\"env\":{\"K\":\"V\",\"E\":\"\"},\"entrypoint\":[\"a\",\"b c\"],\"sshKeys\":[\"ssh-ed25519 x\"],"
              "\"network\":{\"mac\":\"02:0a:fF:00:10:99\",\"address\":\"10.0.0.5\",\"prefix\":24,"
              "\"gateway\":\"10.0.0.1\",\"dns\":[\"10.0.0.1\",\"10.0.0.2\",\"10.0.0.3\",\"10.0.0.4\"]},"
              "\"daemonPort\":2281,\"runAs\":\"app:staff\",\"workdir\":\"/work\",\"later\":{\"x\":1}}",
              &s, &err),
        0, "%s", err.message);
    cr_assert_str_eq(s.id, "a-1");
    cr_assert_str_eq(s.hostname, "box.example");
    cr_assert_str_eq(s.user, "daytona");
    cr_assert_str_eq(s.snapshot, "tiny");
    cr_assert_str_eq(s.run_as, "app:staff");
    cr_assert_str_eq(s.workdir, "/work");
    cr_assert_str_eq(s.entrypoint->first->next->text, "b c");
    cr_assert_str_eq(s.ssh_keys->first->text, "ssh-ed25519 x");
    cr_assert_eq(s.port, 2281);
    cr_assert(s.network.is_set && s.network.has_mac);
    cr_assert_arr_eq(s.network.mac, mac, 6);
    cr_assert_eq(s.network.address, inet_addr("10.0.0.5"));
    cr_assert_eq(s.network.gateway, inet_addr("10.0.0.1"));
    cr_assert_eq(s.network.prefix, 24);
    cr_assert_eq(s.network.n_dns, 3);
    seed_done(&s);
}

Test(seed, nothing_and_nulls_have_defaults)
{
    static const char *const texts[] = {
        "{}",
        ("{\"schema\":1,\"id\":null,\"hostname\":null,\"user\":null,\"env\":null,\"entrypoint\":null,\"sshKeys\":null,"
         "\"network\":null,\"daemonPort\":null,\"snapshot\":null}"),
        "{\"env\":{},\"entrypoint\":[]}"};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct runner_error err = ERROR_INIT;
        struct seed s;
        cr_assert_eq(parse(texts[i], &s, &err), 0, "%s", err.message);
        cr_expect_str_eq(s.hostname, "sandbox");
        cr_expect_eq(s.port, 2280);
        cr_expect(s.env == NULL && s.entrypoint == NULL && s.ssh_keys == NULL && s.user == NULL);
        cr_expect_not(s.network.is_set);
        seed_done(&s);
    }
}

Test(seed, host_name_is_the_id_when_it_has_none)
{
    struct runner_error err = ERROR_INIT;
    struct seed s;

    cr_assert_eq(parse("{\"id\":\"b7\"}", &s, &err), 0);
    cr_assert_str_eq(s.hostname, "b7");
    seed_done(&s);
}

Test(seed, what_is_wrong_is_named)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "JSON"},
        {"[]", "not an object"},
        {"{\"schema\":2}", "schema 2"},
        {"{\"hostname\":5}", "hostname"},
        {"{\"hostname\":\"a b\"}", "hostname"},
        {"{\"hostname\":\"a\\nb\"}", "hostname"},
        {"{\"hostname\":\"-a\"}", "hostname"},
        {"{\"hostname\":\"\"}", "hostname"},
        {"{\"env\":[]}", "env"},
        {"{\"env\":{\"A\":1}}", "env"},
        {"{\"entrypoint\":\"sh\"}", "entrypoint"},
        {"{\"entrypoint\":[1]}", "entrypoint"},
        {"{\"runAs\":0}", "runAs"},
        {"{\"workdir\":[]}", "workdir"},
        {"{\"workdir\":\"work\"}", "workdir"},
        {"{\"daemonPort\":0}", "daemonPort"},
        {"{\"daemonPort\":\"2280\"}", "daemonPort"},
        {"{\"daemonPort\":65536}", "daemonPort"},
        {"{\"network\":1}", "network"},
        {"{\"network\":{\"address\":\"10.0.0.5\"}}", "network.prefix"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":0}}", "network.prefix"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":33}}", "network.prefix"},
        {"{\"network\":{\"prefix\":24}}", "address"},
        {"{\"network\":{\"address\":\"10.0.0.256\",\"prefix\":24}}", "address"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"gateway\":5}}", "gateway"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"dns\":[\"x\"]}}", "dns"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"mac\":\"02:00:00:00:00\"}}", "mac"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"mac\":\"02:00:00:00:00:+1\"}}", "mac"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"mac\":\"02:00:00:00:00:011\"}}", "mac"},
        {"{\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,\"mac\":\"0200:00:00:00:01\"}}", "mac"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;
        struct seed s;
        cr_expect_eq(parse(cases[i].text, &s, &err), -1, "%s was taken", cases[i].text);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
        cr_expect_not_null(strstr(err.message, cases[i].part), "%s: %s", cases[i].text, err.message);
    }
}

Test(seed, environment_in_the_order_of_the_contract)
{
    struct runner_error err = ERROR_INIT;
    struct seed s;

    cr_assert_eq(
        parse("{\"id\":\"a\",\"user\":\"u\",\"env\":{\"DAYTONA_SANDBOX_USER\":\"mine\",\"A=B\":\"x\",\"\":\"y\"}}", &s,
              &err),
        0);
    seed_export(&s);
    cr_expect_str_eq(getenv("DAYTONA_SANDBOX_ID"), "a");
    cr_expect_str_eq(getenv("DAYTONA_SANDBOX_USER"), "mine");
    cr_expect_null(getenv("A"));
    seed_done(&s);
}

Test(seed, a_file_that_is_too_large_or_missing)
{
    struct runner_error err = ERROR_INIT;
    struct seed s;

    cr_expect_eq(seed_load("/dev/zero", &s, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_eq(seed_load("/no/such/runner.json", &s, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTFOUND);
}

Test(net, hosts_and_resolv_conf)
{
    auto_str struct str hosts = STR_INIT, resolv = STR_INIT;
    struct runner_error err = ERROR_INIT;
    struct seed s;

    cr_assert_eq(parse("{\"hostname\":\"box.example\",\"network\":{\"address\":\"10.0.0.5\",\"prefix\":24,"
                       "\"dns\":[\"10.0.0.1\",\"1.1.1.1\"]}}",
                       &s, &err),
                 0);
    net_hosts_text(&s, &hosts);
    net_resolv_text(&s.network, &resolv);
    cr_expect_str_eq(str_text(&hosts), "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
                                       "127.0.1.1 box.example box\n");
    cr_expect_str_eq(str_text(&resolv), "nameserver 10.0.0.1\nnameserver 1.1.1.1\n");
    seed_done(&s);
}
